"""Ollama's own chat, `POST /api/chat`, spoken outward only. https://docs.ollama.com/api/chat (2026-11-22).

A stream is one JSON object a line. Everything about sampling stands in `options`; there a client of another dialect may
also say what is Ollama's alone (`num_ctx`, `mirostat`), as LiteLLM's users do. `stream` is true where nobody says
otherwise, so it is always said.

What the API has no word for: `n`, a tool that must be called, a ban on parallel calls, `logit_bias`, `user`, `metadata`,
cache marks, pictures behind a link, documents and sound; in replies an id, and how much of the output was thought.
"""

from __future__ import annotations

from tollway.dialects.ollama_chat.encode import NAME, encode_request
from tollway.dialects.ollama_chat.errors import decode_error
from tollway.dialects.ollama_chat.reply import EventDecoder, decode_reply, decode_usage

__all__ = ["NAME", "EventDecoder", "decode_error", "decode_reply", "decode_usage", "encode_request"]
