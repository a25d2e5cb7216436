"""The only door to the network: a pool of HTTP/1.1 connections, deadlines, streaming, cancellation.

`wire.py` says what goes through the door; `client.py` is the door; `tollway.testing.FakeUpstream` is its stand-in.
"""
