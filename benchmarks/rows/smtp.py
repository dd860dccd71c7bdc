def postfix(bench):
    return []
