"""A prediction: the one object of Replicate's API, and how one is looked after until it is over.

https://replicate.com/docs/topics/predictions/lifecycle, .../create-a-prediction, .../streaming,
https://replicate.com/docs/reference/http#predictions.cancel (2026-11-22)
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Raw, Struct

from tollway.calls import Usage
from tollway.dialects.media import Step
from tollway.errors import UpstreamBroken, UpstreamError, UpstreamFailed
from tollway.failures import failure, read_error_body, retry_after_s, said_in, stream_failure
from tollway.sse import EventCutter, event_name

WAITING = frozenset({"starting", "processing"})
#: What a stream's last event, which is ours, is called.
PREDICTION_EVENT = "prediction"
#: So long the first answer waits for a prediction to be over; after that it is looked for. Not longer, since one that nobody
#: knows the name of cannot be cancelled.
WAIT_S = 10
_ID = re.compile(r"[A-Za-z0-9-]{1,64}")
#: What follows the base path in the address that a prediction is asked for at.
_ASKED_AT = re.compile(r"(?:/(?:models|deployments)/[^/]+/[^/]+)?/predictions$")
#: A model, or a deployment, that has an address of its own.
_OWN_ADDRESS = re.compile(r"(deployments/)?([A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+)")
_LIMITS = ("max_tokens", "max_completion_tokens", "max_output_tokens", "max_new_tokens", "max_length")


def path_of(model: str) -> str:
    """Where a model's predictions are asked for, after the base path."""
    found = _OWN_ADDRESS.fullmatch(model)
    if found is None or "/." in "/" + found[2]:
        return "/predictions"
    return f"/{'deployments' if found[1] else 'models'}/{found[2]}/predictions"


def version_of(model: str) -> str:
    """What the body must say of a model that has no address of its own: one that is written with its version."""
    return "" if path_of(model) != "/predictions" else model


class Prediction(Struct):
    """`Any` where a model may write what it likes."""

    id: Any = ""
    model: Any = None
    status: Any = None
    output: Any = None
    error: Any = None
    metrics: Any = None
    urls: Any = None
    input: Raw = Raw()
    limit: int | None = None  # ours: the limit of the output that was asked for

    def is_over(self) -> bool:
        """Raises the UpstreamError that a prediction which came to nothing means."""
        if self.status in WAITING:
            return False
        if self.status == "succeeded":
            return True
        said = said_in(self.error) if self.error else None
        if said is not None and said.message:
            raise stream_failure(said)
        raise UpstreamFailed(f"The provider's prediction ended with {str(self.status)[:60]!r}.")

    def usage(self) -> Usage | None:
        """None where nothing was counted, as for models that are paid by the second."""
        metrics = self.metrics if isinstance(self.metrics, dict) else {}
        read, written = _count(metrics.get("input_token_count")), _count(metrics.get("output_token_count"))
        if read is None and written is None:
            return None
        return Usage(input=read or 0, output=written or 0)

    def text(self) -> str:
        """Most models give their text in pieces; one that gives an object has it told as JSON."""
        output = self.output
        if output is None:
            return ""
        if isinstance(output, str):
            return output
        if isinstance(output, list) and all(isinstance(piece, str) for piece in output):
            return "".join(output)
        return msgspec.json.encode(output).decode()

    def finish(self) -> str:
        """Nobody says why a text ended: one of all the tokens that were allowed was cut."""
        usage = self.usage()
        return "length" if usage is not None and self.limit and usage.output >= self.limit else "stop"

    def address(self, name: str) -> str:
        url = self.urls.get(name) if isinstance(self.urls, dict) else None
        return url if isinstance(url, str) else ""


_decode = msgspec.json.Decoder(Prediction).decode
_decode_input = msgspec.json.Decoder(dict[str, Raw]).decode
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError)


def read_prediction(body: bytes) -> Prediction:
    """Raises UpstreamBroken, or the error that stands where a prediction should."""
    try:
        prediction = _decode(body)
    except _UNREADABLE as error:
        raise UpstreamBroken("The provider sent something that is no prediction.") from error
    if not isinstance(prediction.id, str) or not _ID.fullmatch(prediction.id) or prediction.status is None:
        said = read_error_body(body)
        if said.message and prediction.status is None:
            raise stream_failure(said)
        raise UpstreamBroken("The provider sent a prediction without a name or a status.")
    if prediction.limit is None:
        prediction.limit = _limit_in(prediction.input)
    return prediction


def decode_error(status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes, provider: str = "") -> UpstreamError:
    """`{"title": ..., "detail": "what went wrong", "status": 422}`."""
    return failure(status, read_error_body(body), provider=provider, retry_after_s=retry_after_s(headers))


class Looked:
    """How a prediction is looked after, whatever it makes. The addresses that it names count where a stream is heard alone."""

    hosts = (".replicate.com",)

    def base(self, path: str) -> str:
        """The base path of the address that was asked."""
        return _ASKED_AT.sub("", path)

    def next_step(self, asked: Any, content_type: bytes, body: bytes) -> Step | None:
        if not _is_object(body):
            return None  # nothing, or a page: whoever reads the last reply says so
        prediction = read_prediction(body)
        return None if prediction.is_over() else Step(f"predictions/{prediction.id}")

    def cancel_at(self, body: bytes) -> str:
        """Where work is ended that nobody waits for; "" where there is none."""
        prediction = read_prediction(body)
        return f"predictions/{prediction.id}/cancel" if prediction.status in WAITING else ""


class Script(Looked):
    """The same for a text, which may be heard while it is written."""

    def head(self, *, listens: bool) -> bytes:
        return b"" if listens else b"prefer: wait=%d\r\n" % WAIT_S

    def stream_at(self, body: bytes) -> str:
        """The address of the prediction's stream; "" where the model has none."""
        if not _is_object(body):
            return ""
        prediction = read_prediction(body)
        return prediction.address("stream") if prediction.status in WAITING else ""

    def told(self, body: bytes) -> bytes:
        """A prediction as an event of a stream; b"" for what is none."""
        if not _is_object(body):
            return b""
        prediction = read_prediction(body)
        prediction.input, prediction.urls = Raw(b"null"), None
        return b"event: %b\ndata: %b\n\n" % (PREDICTION_EVENT.encode(), msgspec.json.encode(prediction))

    def ears(self) -> Ears:
        return Ears()


class Ears:
    """Notices the end mark of a stream that is cut anywhere."""

    def __init__(self) -> None:
        self._cutter = EventCutter()

    def feed(self, data: bytes) -> bool:
        """Whether the end mark, whole, is among what was fed."""
        return any(event_name(event) in ("done", "error") for event in self._cutter.feed(data))


def _is_object(body: bytes) -> bool:
    return body.lstrip().startswith(b"{")


def _limit_in(raw: Raw) -> int | None:
    try:
        fields = _decode_input(raw)
    except _UNREADABLE:
        return None
    for name in _LIMITS:
        if name in fields:
            try:
                return msgspec.json.decode(fields[name], type=int)
            except _UNREADABLE:
                continue
    return None


def _count(value: Any) -> int | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1e15:
        return None
    return int(value)
