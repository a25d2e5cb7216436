"""The dashboard at `/ui`: its pages, signing in, and the few questions that only it asks (`/ui/api`).

Everything else it does goes through the same management API as every other client's, with a cookie in place of a key.
"""
