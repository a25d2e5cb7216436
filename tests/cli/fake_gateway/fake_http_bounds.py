"""Stands in for `tollway.endpoints.http_bounds`."""

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol as BoundedHttp

__all__ = ["BoundedHttp"]
