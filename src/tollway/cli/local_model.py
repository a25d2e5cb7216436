"""One local model: the child process that runs llama.cpp's own server on a loopback port, behind a token.

It reads its settings as one JSON line on stdin (`name`, `path`, `port`, `token`), says `{"port": N}` on stdout when the
model is loaded, and ends when its stdin closes. So a gateway that is killed outright leaves no child behind.

It imports the standard library and llama.cpp alone. `local_models.py` is the parent's side.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sys
import threading
from typing import Any

#: Calls answered at once, each with CONTEXT_TOKENS / PARALLEL_CALLS tokens of its own, so that none can starve another.
PARALLEL_CALLS = 4
CONTEXT_TOKENS = 8192
PROMPT_CACHE_MIB_MAX = 128


def main() -> int:
    """Serves one model until stdin closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer; it closes our stdin
    _die_with_parent()
    settings = json.loads(sys.stdin.readline() or "null")
    if settings is None:
        return 0
    # What llama.cpp prints must not be taken for our line.
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    threading.Thread(target=_end_with_stdin, daemon=True).start()
    server = _serve(settings)
    answer.write(json.dumps({"port": settings["port"]}) + "\n")
    answer.flush()
    threading.Event().wait()
    del server
    return 0


def _serve(settings: dict[str, Any]) -> object:
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = settings["path"]
    params.model_alias = {settings["name"]}
    params.hostnames = ["127.0.0.1"]
    params.port = settings["port"]
    params.reuse_port = hasattr(socket, "SO_REUSEPORT")
    params.api_keys = [settings["token"]]
    params.n_parallel = PARALLEL_CALLS
    params.n_ctx = CONTEXT_TOKENS
    params.cache_ram_mib = PROMPT_CACHE_MIB_MAX
    params.endpoint_slots = False
    params.ui = False
    params.verbosity = 0
    try:
        return xllamacpp.Server(params)
    except RuntimeError as error:
        raise SystemExit(f"llama.cpp cannot serve {settings['path']}: {error}") from error


def _end_with_stdin() -> None:
    while os.read(0, 4096):
        pass
    os._exit(0)


def _die_with_parent() -> None:
    """Linux ends us with the parent even while llama.cpp loads a model and no Python thread can run.

    PR_SET_PDEATHSIG: https://man7.org/linux/man-pages/man2/pr_set_pdeathsig.2const.html
    """
    if sys.platform != "linux":
        return
    import ctypes

    pr_set_pdeathsig = 1
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())
