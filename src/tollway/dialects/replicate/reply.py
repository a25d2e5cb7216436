"""Predictions of text, whole and heard. https://replicate.com/docs/topics/predictions/streaming (2026-11-22)

A stream's `output` events are pieces of text, `logs` are for the model's maker, `error` and `done` end it.
"""

from __future__ import annotations

import msgspec

from tollway.calls import Usage
from tollway.conversation import Event, Finished, Started, TextPiece, UsageSeen
from tollway.dialects.replicate.predictions import PREDICTION_EVENT, Prediction, read_prediction
from tollway.errors import UpstreamBroken, UpstreamError, UpstreamFailed
from tollway.failures import read_error_body, stream_failure
from tollway.sse import EventCutter, event_data, event_name


def decode_reply(body: bytes) -> list[Event]:
    """A prediction that is over as events. Raises UpstreamBroken, or the error that it came to."""
    prediction = read_prediction(body)
    if not prediction.is_over():
        raise UpstreamBroken("The provider sent a prediction that is not over.")
    return [_started(prediction), TextPiece(prediction.text()), *_end(prediction)]


def decode_usage(body: bytes) -> Usage | None:
    """The usage in a whole JSON reply; None where there is none, or no prediction."""
    try:
        return read_prediction(body).usage()
    except UpstreamError:
        return None


class EventDecoder:
    """A stream as events, cut anywhere. See `tollway.dialects.StreamDecoder`."""

    def __init__(self) -> None:
        self._cutter = EventCutter()
        self._heard: list[str] = []
        self._done = False
        self._started = False
        self.complete = False
        self.before_error: list[Event] = []

    def feed(self, data: bytes) -> list[Event]:
        events: list[Event] = []
        try:
            for event in self._cutter.feed(data):
                if not self.complete:
                    self._read(event, events)
        except UpstreamError:
            self.before_error = events
            raise
        return events

    def end(self) -> list[Event]:
        """A stream that ended as it should, whose prediction nobody could look at any more: its usage is not known."""
        events: list[Event] = []
        if (rest := self._cutter.rest()) and not self.complete:
            self._read(rest, events)
        if self._done and not self.complete:
            self.complete = True
            events.append(Finished("stop"))
        return events

    def _read(self, event: bytes, events: list[Event]) -> None:
        name, data = event_name(event), event_data(event) or b""
        if name == "output":
            if not self._started:
                self._started = True
                events.append(Started("", ""))
            piece = data.decode("utf-8", "replace")
            self._heard.append(piece)
            events.append(TextPiece(piece))
        elif name == PREDICTION_EVENT:
            self._read_prediction(read_prediction(data), events)
        elif name == "error":
            raise stream_failure(read_error_body(data))
        elif name == "done":
            self._done = True
            _refuse_what_was_cut(data)

    def _read_prediction(self, prediction: Prediction, events: list[Event]) -> None:
        if not self._started:
            self._started = True
            events.append(_started(prediction))
        if not prediction.is_over():
            return
        heard, whole = "".join(self._heard), prediction.text()
        if not heard or (not self._done and whole.startswith(heard)):
            events.append(TextPiece(whole[len(heard) :]))  # a stream that was cut, or a model without one
        events += _end(prediction)
        self.complete = True


def _started(prediction: Prediction) -> Started:
    return Started(str(prediction.id), prediction.model if isinstance(prediction.model, str) else "")


def _end(prediction: Prediction) -> list[Event]:
    usage = prediction.usage()
    return [*([UsageSeen(usage)] if usage is not None else []), Finished(prediction.finish())]


def _refuse_what_was_cut(data: bytes) -> None:
    """`done` tells a `reason` where a prediction did not succeed."""
    try:
        said = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return
    if isinstance(said, dict) and said.get("reason"):
        raise UpstreamFailed(f"The provider's prediction ended with {str(said['reason'])[:60]!r}.")
