"""Anthropic's paths for messages, as its SDK and LiteLLM's pass-through have them."""

from __future__ import annotations

EXACT = {
    "/v1/messages": "messages",
    "/anthropic/v1/messages": "messages",
    "/v1/messages/count_tokens": "count_message_tokens",
    "/anthropic/v1/messages/count_tokens": "count_message_tokens",
}
