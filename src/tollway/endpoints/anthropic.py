"""Anthropic's path for messages, as its SDK and LiteLLM's pass-through have it."""

from __future__ import annotations

EXACT = {"/v1/messages": "messages", "/anthropic/v1/messages": "messages"}
