from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tollway.calls import Secret, Usage
from tollway.config.settings import ModelEntry
from tollway.testing.gateway import SmallGateway
from tollway.testing.upstream import FakeReply

BOUNDARY = "0123456789abcdef"
FORM = {"content-type": f"multipart/form-data; boundary={BOUNDARY}"}
SAID = {
    "metadata": {"request_id": "r", "duration": 25.933313, "channels": 1},
    "results": {
        "channels": [
            {
                "detected_language": "en",
                "alternatives": [
                    {
                        "transcript": "Hello world.",
                        "confidence": 0.99,
                        "words": [
                            {"word": "hello", "punctuated_word": "Hello", "start": 0.08, "end": 0.32},
                            {"word": "world", "punctuated_word": "world.", "start": 2.4, "end": 2.8},
                        ],
                    }
                ],
            }
        ]
    },
}


def deepgram(model: str, **changes: Any) -> ModelEntry:
    return ModelEntry(model_name="small", provider_model=f"deepgram/{model}", api_key=Secret("dg"), **changes)


def form(*parts: tuple[str, str], file: bytes = b"sound") -> bytes:
    named = [
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in parts
    ]
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="a.mp3"\r\n\r\n'
    return "".join(named).encode() + head.encode() + file + f"\r\n--{BOUNDARY}--\r\n".encode()


async def test_a_sound_is_the_body_and_all_else_the_query(tmp_path: Path) -> None:
    """https://developers.deepgram.com/reference/speech-to-text/listen-pre-recorded (2026-11-22)"""
    async with SmallGateway(tmp_path, [deepgram("nova-3", extra_body={"keyterm": ["Tollway", "a b"]})]) as gateway:
        gateway.upstream.reply_to("/v1/listen", FakeReply.json(SAID))
        body = form(("model", "small"), ("temperature", "0"), ("diarize", "true"))
        answer = await gateway.ask(path="/v1/audio/transcriptions", headers=FORM, body=body)
        assert answer.json() == {"text": "Hello world.", "usage": {"type": "duration", "seconds": 25.933313}}
        assert answer.headers["x-tollway-dropped"] == "temperature"
        sent = gateway.upstream.requests[0]
        assert sent.origin.host == "api.deepgram.com"
        assert sent.headers["authorization"] == "Token dg"
        assert sent.headers["content-type"] == "audio/*"
        assert sent.body == b"sound"
        assert sent.query == {
            "model": ["nova-3"],
            "detect_language": ["true"],
            "diarize": ["true"],
            "keyterm": ["Tollway", "a b"],
            "smart_format": ["true"],
        }
        record = (await gateway.records())[0]
        assert record.usage == Usage(seconds=25.933)
        assert record.cost.total == 1_858_618  # 25.933 s at 71 670 nano-dollars


async def test_a_verbose_transcript_has_segments_and_words(tmp_path: Path) -> None:
    async with SmallGateway(tmp_path, [deepgram("nova-2")]) as gateway:
        gateway.upstream.reply_to("/v1/listen", FakeReply.json(SAID))
        body = form(("model", "small"), ("response_format", "verbose_json"), ("language", "en-US"))
        said = (await gateway.ask(path="/v1/audio/transcriptions", headers=FORM, body=body)).json()
        assert (said["language"], said["duration"], said["text"]) == ("en", 25.933313, "Hello world.")
        assert said["segments"] == [
            {"id": 0, "start": 0.08, "end": 0.32, "text": "Hello"},
            {"id": 1, "start": 2.4, "end": 2.8, "text": "world."},
        ]
        assert said["words"][1] == {"word": "world.", "start": 2.4, "end": 2.8}
        assert gateway.upstream.requests[0].query["language"] == ["en-US"]
        assert "detect_language" not in gateway.upstream.requests[0].query


@pytest.mark.parametrize(
    ("model", "voice", "expected", "dropped"),
    [("aura-2-thalia-en", "alloy", "aura-2-thalia-en", "voice"), ("aura-2", "orion-en", "aura-2-orion-en", None)],
)
async def test_a_voice_is_a_model(model: str, voice: str, expected: str, dropped: str | None, tmp_path: Path) -> None:
    """https://developers.deepgram.com/reference/text-to-speech/speak-request (2026-11-22)"""
    entry = deepgram(model, prices={"input_cost_per_character": "0.00003"})
    async with SmallGateway(tmp_path, [entry]) as gateway:
        gateway.upstream.reply_to("/v1/speak", FakeReply.stream(b"wav", content_type="audio/wav"))
        body = b'{"model":"small","input":"Hello","voice":"%b","response_format":"wav"}' % voice.encode()
        answer = await gateway.ask(path="/v1/audio/speech", body=body)
        assert (answer.status, answer.body) == (200, b"wav")
        assert answer.headers.get("x-tollway-dropped") == dropped
        sent = gateway.upstream.requests[0]
        assert sent.json() == {"text": "Hello"}
        assert sent.query == {
            "model": [expected],
            "encoding": ["linear16"],
            "container": ["wav"],
            "sample_rate": ["24000"],
        }
        assert (await gateway.records())[0].cost.total == 5 * 30_000


@pytest.mark.parametrize(
    ("parts", "param"),
    [((("response_format", "diarized_json"),), "response_format"), ((("stream", "true"),), "stream")],
)
async def test_what_it_cannot_be_asked_is_refused_by_name(parts: Any, param: str, tmp_path: Path) -> None:
    async with SmallGateway(tmp_path, [deepgram("nova-3")]) as gateway:
        answer = await gateway.ask(path="/v1/audio/transcriptions", headers=FORM, body=form(("model", "small"), *parts))
        assert answer.status == 400
        assert answer.json()["error"]["param"] == param
        assert gateway.upstream.requests == []


async def test_a_reply_that_is_no_transcript_is_broken_and_an_error_is_told(tmp_path: Path) -> None:
    async with SmallGateway(tmp_path, [deepgram("nova-3", retries=0)]) as gateway:
        said = {"err_code": "Bad Request", "err_msg": "Bad Request: failed to process audio", "request_id": "u"}
        gateway.upstream.reply_to(None, FakeReply.json({"metadata": {}}), FakeReply.json(said, status=400))
        asked: Any = {"path": "/v1/audio/transcriptions", "headers": FORM, "body": form(("model", "small"))}
        assert (await gateway.ask(**asked)).status == 502
        answer = await gateway.ask(**asked)
        assert answer.status == 400
        assert answer.json()["error"]["message"] == "Bad Request: failed to process audio"


async def test_a_budget_is_held_for_the_longest_the_sound_can_be(tmp_path: Path) -> None:
    async with SmallGateway(tmp_path, [deepgram("nova-3")]) as gateway:
        key = await gateway.make_key(max_budget_nano=100 * 71_670)
        body = form(("model", "small"), file=b"x" * 200_000)
        answer = await gateway.ask(key=key, path="/v1/audio/transcriptions", headers=FORM, body=body)
        assert answer.status == 422
        assert gateway.upstream.requests == []
