from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from msgspec import Raw

from tollway.errors import BadRequest

#: What reads a request at once where it is as most are, by dialect.
AT_ONCE = {
    "anthropic_messages": ("_decode_common",),
    "gemini": ("_decode_plain_contents", "_decode_plain"),
    "openai_responses": ("_decode_input",),
}


def unlike_others(raw: Raw) -> Any:
    raise msgspec.ValidationError("this one is not like others")


@pytest.fixture(scope="session")
def read_request() -> Callable[..., Any]:
    """The conversation that a request in a dialect's words is, or (message, param) of the error; with care whatever it is like,
    where that is wanted.
    """

    def read(name: str, fields: dict[str, Raw], *, with_care: bool) -> Any:
        with pytest.MonkeyPatch.context() as patch:
            module = importlib.import_module(f"tollway.dialects.{name}.decode")
            for decoder in AT_ONCE.get(name, ()) if with_care else ():
                patch.setattr(module, decoder, unlike_others)
            try:
                return module.decode_request(dict(fields))
            except BadRequest as error:
                return str(error), error.param

    return read
