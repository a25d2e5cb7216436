"""Text completions: chat, as far as holding, sending and settling go, in an older dialect.

What it holds beside: a call may hold several prompts, each of which gets its own choices, and `best_of` has more written
(and billed) than is shown.
"""

from __future__ import annotations

from typing import Any

from tollway.calls import Call
from tollway.dialects import About, openai_completions
from tollway.errors import BadRequest
from tollway.operations import value_of
from tollway.operations.chat import Chat, Words

WORDS = Words(("max_tokens",), "cmpl-", input="prompt", end_user="user", own_metadata=True, usage_on_request=True)
#: Completions that a call may have written, at most; OpenAI's own bounds are 128 choices and 2 048 prompts.
WRITTEN_MAX = 8192


class Completions(Chat):
    def __init__(self, dialects: dict[str, Any]) -> None:
        super().__init__(openai_completions, dialects, WORDS, call_type="atext_completion")

    def parse(self, call: Call) -> None:
        super().parse(call)
        self._choices(call)

    def about(self, call: Call) -> About:
        about = super().about(call)
        about.choices = _prompts(call) * super()._choices(call)
        return about

    def _choices(self, call: Call) -> int:
        """How many are written, shown or not."""
        best_of = value_of(call.fields, "best_of", int, "a whole number") or 1
        written = _prompts(call) * max(super()._choices(call), best_of)
        if written > WRITTEN_MAX:
            raise BadRequest(f"A call may have at most {WRITTEN_MAX} completions written.", param="best_of")
        return written


def _prompts(call: Call) -> int:
    return openai_completions.prompts_in(call.fields["prompt"])
