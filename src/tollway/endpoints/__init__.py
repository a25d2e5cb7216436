"""The public paths of the data plane: bytes to call, reply to bytes. One file a family, each a table of paths.

`tollway.dispatch` looks a path up in those tables before any router sees it.
"""
