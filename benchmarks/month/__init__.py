"""A month of mail, made up by a seeded chance: the same one for whoever is measured.

It is data: each message has all the attempts that its sender would make, whatever it is
answered. Who plays it leaves out those that come after the message is through.
"""
