"""Stands in for llama.cpp in the child of a local model: an HTTP server of the standard library on the same port."""

import http.server
import json
import os
import socket
import threading


class Model:
    path = ""


class CommonParams:
    def __init__(self):
        self.model = Model()
        self.port = 0
        self.api_keys = []


class Server:
    def __init__(self, params):
        if os.environ.get("FAKE_MODEL_FAILS"):
            raise RuntimeError("told to fail")
        token = params.api_keys[0]

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.answer(200, {"status": "ok", "pid": os.getpid()})

            def do_POST(self):
                known = self.headers["authorization"] == f"Bearer {token}"
                self.answer(200 if known else 401, {"path": params.model.path, "pid": os.getpid()})

            def answer(self, status, told):
                body = json.dumps(told).encode()
                self.send_response(status)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        class Bound(http.server.ThreadingHTTPServer):
            def server_bind(self):
                self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                super().server_bind()

        self.listening_address = f"http://127.0.0.1:{params.port}"
        threading.Thread(target=Bound(("127.0.0.1", params.port), Handler).serve_forever, daemon=True).start()
