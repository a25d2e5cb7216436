"""Where finished calls are told. An exporter's `tell` is called once per call on the request path: it appends to a bounded queue
and returns; what costs time happens in a task of its own.
"""
