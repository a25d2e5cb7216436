"""Anthropic's path for messages, with and without `/v1`."""

from __future__ import annotations

EXACT = {"/v1/messages": "messages", "/anthropic/v1/messages": "messages"}
