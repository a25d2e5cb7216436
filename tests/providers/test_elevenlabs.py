from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tollway.calls import Secret, Usage
from tollway.config.settings import ModelEntry
from tollway.multipart import read_form
from tollway.testing.gateway import SmallGateway
from tollway.testing.upstream import FakeReply

VOICE = "JBFqnCBsd6RMkjVDRZzb"
SPEECH = "/v1/audio/speech"
BOUNDARY = "0123456789abcdef"
FORM = {"content-type": f"multipart/form-data; boundary={BOUNDARY}"}
SAID = {
    "language_code": "en",
    "language_probability": 0.98,
    "text": "Hello world!",
    "words": [
        {"text": "Hello", "start": 0, "end": 0.5, "type": "word", "speaker_id": "speaker_1"},
        {"text": " ", "start": 0.5, "end": 0.6, "type": "spacing"},
        {"text": "world!", "start": 0.6, "end": 1.2, "type": "word"},
    ],
    "audio_duration_secs": 2.5,
}


def elevenlabs(model: str, **changes: Any) -> ModelEntry:
    return ModelEntry(model_name="small", provider_model=f"elevenlabs/{model}", api_key=Secret("xi"), **changes)


def form(*parts: tuple[str, str], file: bytes = b"sound") -> bytes:
    named = [
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in parts
    ]
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="a.mp3"\r\n\r\n'
    return "".join(named).encode() + head.encode() + file + f"\r\n--{BOUNDARY}--\r\n".encode()


async def test_speech_names_its_voice_in_the_path_and_its_format_in_the_query(tmp_path: Path) -> None:
    """https://elevenlabs.io/docs/api-reference/text-to-speech/stream (2026-11-22)"""
    async with SmallGateway(tmp_path, [elevenlabs("eleven_multilingual_v2")]) as gateway:
        path = f"/v1/text-to-speech/{VOICE}/stream"
        gateway.upstream.reply_to(path, FakeReply.stream(b"mp3", b"mp3", content_type="audio/mpeg"))
        body = (
            b'{"model":"small","input":"Hello there","voice":"%b","speed":1.1,"instructions":"Softly.","seed":7}'
            % VOICE.encode()
        )
        answer = await gateway.ask(path=SPEECH, body=body)
        assert (answer.status, answer.body, answer.headers["content-type"]) == (200, b"mp3mp3", "audio/mpeg")
        assert answer.headers["x-tollway-dropped"] == "instructions"
        sent = gateway.upstream.requests[0]
        assert sent.origin.host == "api.elevenlabs.io"
        assert sent.query == {"output_format": ["mp3_44100_128"]}
        assert sent.headers["xi-api-key"] == "xi"
        assert "authorization" not in sent.headers
        assert sent.json() == {
            "text": "Hello there",
            "model_id": "eleven_multilingual_v2",
            "voice_settings": {"speed": 1.1},
            "seed": 7,
        }
        record = (await gateway.records())[0]
        assert record.usage == Usage(characters=11)
        assert record.cost.total == 11 * 180_000


@pytest.mark.parametrize(
    ("wanted", "format_"), [("pcm", "pcm_24000"), ("opus", "opus_48000_128"), ("ulaw_8000", "ulaw_8000")]
)
async def test_openai_s_formats_have_names_of_their_own(wanted: str, format_: str, tmp_path: Path) -> None:
    async with SmallGateway(tmp_path, [elevenlabs("eleven_v3", extra_body={"voice": VOICE})]) as gateway:
        gateway.upstream.reply_to(None, FakeReply.stream(b"x", content_type="audio/x"))
        body = b'{"model":"small","input":"Hi","voice":"alloy","response_format":"%b"}' % wanted.encode()
        assert (await gateway.ask(path=SPEECH, body=body)).status == 200
        assert gateway.upstream.requests[0].query == {"output_format": [format_]}
        assert gateway.upstream.requests[0].path.split("/")[3] == VOICE  # the deployment's own


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        (b'"voice":"alloy"', "voice"),
        (b'"voice":"../x/aaaaaaaa"', "voice"),
        (b'"voice":"JBFqnCBsd6RMkjVDRZzb","response_format":"flac"', "response_format"),
        (b'"voice":"JBFqnCBsd6RMkjVDRZzb","stream_format":"sse"', "stream_format"),
        (b'"voice":"JBFqnCBsd6RMkjVDRZzb","speed":"fast"', "speed"),
    ],
)
async def test_what_it_cannot_be_asked_is_refused_by_name(changes: bytes, param: str, tmp_path: Path) -> None:
    async with SmallGateway(tmp_path, [elevenlabs("eleven_v3")]) as gateway:
        answer = await gateway.ask(path=SPEECH, body=b'{"model":"small","input":"Hi",%b}' % changes)
        assert answer.status == 400
        assert answer.json()["error"]["param"] == param
        assert gateway.upstream.requests == []


async def test_a_transcript_comes_back_in_openai_s_words_and_is_charged_by_the_second(tmp_path: Path) -> None:
    """https://elevenlabs.io/docs/api-reference/speech-to-text/convert (2026-11-22)"""
    async with SmallGateway(tmp_path, [elevenlabs("scribe_v1")]) as gateway:
        gateway.upstream.reply_to("/v1/speech-to-text", FakeReply.json(SAID))
        body = form(("model", "small"), ("language", "en"), ("prompt", "x"), ("diarize", "true"))
        answer = await gateway.ask(path="/v1/audio/transcriptions", headers=FORM, body=body)
        assert answer.json() == {"text": "Hello world!", "usage": {"type": "duration", "seconds": 2.5}}
        assert answer.headers["x-tollway-dropped"] == "prompt"
        sent = gateway.upstream.requests[0]
        assert sent.headers["xi-api-key"] == "xi"
        went = read_form(sent.body, sent.headers["content-type"].encode())
        assert {part.name: bytes(went.view(part)) for part in went.parts} == {
            "model_id": b"scribe_v1",
            "language_code": b"en",
            "diarize": b"true",
            "file": b"sound",
        }
        record = (await gateway.records())[0]
        assert record.usage == Usage(seconds=2.5)
        assert record.cost.total == 152_750


@pytest.mark.parametrize(
    ("wanted", "content_type", "expected"),
    [
        ("text", "text/plain; charset=utf-8", b"Hello world!\n"),
        ("srt", "application/x-subrip", b"1\n00:00:00,000 --> 00:00:01,200\nHello world!\n\n"),
        ("vtt", "text/vtt; charset=utf-8", b"WEBVTT\n\n00:00:00.000 --> 00:00:01.200\nHello world!\n\n"),
    ],
)
async def test_a_transcript_has_each_of_openai_s_formats(
    wanted: str, content_type: str, expected: bytes, tmp_path: Path
) -> None:
    async with SmallGateway(tmp_path, [elevenlabs("scribe_v1")]) as gateway:
        gateway.upstream.reply_to("/v1/speech-to-text", FakeReply.json(SAID))
        body = form(("model", "small"), ("response_format", wanted))
        answer = await gateway.ask(path="/v1/audio/transcriptions", headers=FORM, body=body)
        assert answer.headers["content-type"] == content_type
        assert answer.body == expected


async def test_a_transcript_without_a_duration_is_charged_by_what_the_file_says_and_marked(tmp_path: Path) -> None:
    async with SmallGateway(tmp_path, [elevenlabs("scribe_v1")]) as gateway:
        gateway.upstream.reply_to(
            "/v1/speech-to-text", FakeReply.json({"text": "Hi", "language_code": "en", "words": []})
        )
        answer = await gateway.ask(
            path="/v1/audio/transcriptions", headers=FORM, body=form(("model", "small"), file=b"x" * 3000)
        )
        assert answer.json() == {"text": "Hi"}
        record = (await gateway.records())[0]
        assert (record.usage, record.usage_source) == (Usage(seconds=3.0), "estimated")


async def test_its_errors_are_told_in_openai_s_words(tmp_path: Path) -> None:
    async with SmallGateway(tmp_path, [elevenlabs("scribe_v1")]) as gateway:
        said = {"detail": {"status": "invalid_model", "message": "Model is not known."}}
        gateway.upstream.reply_to(None, FakeReply.json(said, status=400))
        answer = await gateway.ask(path="/v1/audio/transcriptions", headers=FORM, body=form(("model", "small")))
        assert answer.status == 400
        assert answer.json()["error"]["message"] == "Model is not known."
