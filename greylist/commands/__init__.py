"""The commands for people, a module each; ``greylist.cli`` loads the one that is asked for.

A module here defines ``command``, a click command. What several of them need stands in
``database`` (opening and walking), ``entry`` (one entry for people), ``selection`` (which
entries) and ``output`` (tables, times, JSON).
"""
