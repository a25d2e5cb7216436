from __future__ import annotations

import asyncio
import struct
from typing import Any

import httpx2 as httpx
import pytest
from openai import APIStatusError, AsyncOpenAI

from tollway.calls import Usage
from tollway.testing import Cut, FakeReply, Gate, Pause

MP3_128 = bytes([0xFF, 0xFB, 0x90, 0x64])  # 128 kbit/s: 16 000 bytes a second
SPEECH = {"model": "voice", "input": "Grüezi!", "voice": "coral"}
BOUNDARY = "0123456789abcdef"
FORM = {"content-type": f"multipart/form-data; boundary={BOUNDARY}"}


def wav(seconds: float) -> bytes:
    data = bytes(int(32_000 * seconds))
    return (
        b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0" + struct.pack("<HHIIHH", 1, 1, 16_000, 32_000, 2, 16) + b"data\0\0\0\0" + data
    )


def form(*parts: tuple[str, bytes], file: bytes = b"opus bytes", filename: str = "a.ogg") -> bytes:
    written = [
        b'--%b\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n' % (BOUNDARY.encode(), name.encode(), value)
        for name, value in parts
    ]
    named = b'; filename="%b"' % filename.encode() if filename else b""
    written.append(
        b'--%b\r\nContent-Disposition: form-data; name="file"%b\r\n\r\n%b\r\n' % (BOUNDARY.encode(), named, file)
    )
    return b"".join(written) + b"--%b--\r\n" % BOUNDARY.encode()


def sound(*parts: Any, content_type: str = "audio/mpeg") -> FakeReply:
    return FakeReply.stream(*parts, content_type=content_type)


# --- speech --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/audio/speech", "/v1/audio/speech"])
async def test_speech_is_passed_on_as_it_comes_with_its_content_type(table: Any, path: str) -> None:
    gate = Gate()
    table.upstream.reply_to("/v1/audio/speech", sound(b"first", gate, b"second", content_type="audio/ogg; codecs=opus"))
    exchange = table.begin(path, b'{"model":"voice","input":"hi",  "voice":"coral","response_format":"opus"}')
    assert await exchange.first_piece() == b"first"
    assert not exchange.whole
    gate.open()
    await exchange.end()
    assert exchange.whole
    assert exchange.body == b"firstsecond"
    assert exchange.headers["content-type"] == "audio/ogg; codecs=opus"
    assert "cache-control" not in exchange.headers
    (sent,) = table.upstream.requests
    assert (sent.method, sent.path, sent.streaming) == ("POST", "/v1/audio/speech", True)
    assert sent.body == b'{"model":"tts-1","input":"hi","voice":"coral","response_format":"opus"}'


async def test_characters_are_counted_as_characters_and_charged_exactly(table: Any) -> None:
    table.upstream.reply_to("/v1/audio/speech", sound(b"sound"))
    await table.post("/v1/audio/speech", SPEECH)
    record = await table.record()
    assert record.call_type == "aspeech"
    assert (record.usage, record.usage_source) == (Usage(characters=7), "provider")
    assert record.cost.total == 7 * 15_000
    assert record.streamed is False


@pytest.mark.parametrize(
    ("asked", "size", "seconds"),
    [({}, 160_000, 10.0), ({"response_format": "pcm"}, 96_000, 2.0)],
)
async def test_speech_by_the_token_is_charged_by_the_length_of_the_sound_and_marked(
    table: Any, asked: dict[str, Any], size: int, seconds: float
) -> None:
    table.upstream.reply_to(None, sound(MP3_128 + bytes(size // 2 - 4), bytes(size // 2)))
    await table.post("/v1/audio/speech", {**SPEECH, "model": "voice-by-token", "input": "a" * 98, **asked})
    record = await table.record()
    assert record.usage_source == "estimated"
    assert record.usage.audio_out == -(-seconds * 1250 // 60)
    assert record.usage.input == 50
    assert record.cost.total == record.usage.audio_out * 12_000 + 50 * 600


async def test_sound_that_does_not_tell_its_length_is_charged_by_its_words(table: Any) -> None:
    table.upstream.reply_to(None, sound(b"\xff\xf1aac", content_type="audio/aac"))
    await table.post("/v1/audio/speech", {**SPEECH, "model": "voice-by-token", "input": "a" * 900})
    assert (await table.record()).usage.audio_out == 1250


async def test_speech_as_events_is_charged_what_its_last_event_says(table: Any) -> None:
    delta = b'data: {"type":"speech.audio.delta","audio":"aGk="}\n\n'
    done = b'data: {"type":"speech.audio.done","usage":{"input_tokens":14,"output_tokens":101,"total_tokens":115}}\n\n'
    table.upstream.reply_to(None, FakeReply.stream(delta, done))
    answer = await table.post("/v1/audio/speech", {**SPEECH, "model": "voice-by-token", "stream_format": "sse"})
    assert answer.body == delta + done
    assert answer.headers["content-type"].startswith("text/event-stream")
    record = await table.record()
    assert (record.usage, record.usage_source) == (Usage(input=14, audio_out=101), "provider")
    assert record.cost.total == 14 * 600 + 101 * 12_000
    assert record.streamed is True


async def test_sound_that_is_cut_by_the_provider_never_comes_to_a_proper_end(table: Any) -> None:
    table.upstream.reply_to(None, sound(b"half", Cut()))
    answer = await table.post("/v1/audio/speech", SPEECH)
    assert (answer.status, answer.body, answer.whole) == (200, b"half", False)
    record = await table.record()
    assert (record.status_code, record.cost.total) == (502, 7 * 15_000)


async def test_sound_that_stalls_never_comes_to_a_proper_end(open_table: Any) -> None:
    table = await open_table(more="litellm_settings: {request_timeout: 60}\n")
    table.upstream.reply_to(None, sound(b"half", Pause(1000), b"rest"))
    exchange = table.begin("/v1/audio/speech", b'{"model":"voice","input":"hi"}')
    await exchange.first_piece()
    table.upstream.clock.advance(100)
    await exchange.end()
    assert (exchange.body, exchange.whole) == (b"half", False)
    assert len(await table.records()) == 1


async def test_a_provider_that_ends_before_the_first_sound_is_tried_again_elsewhere(open_table: Any) -> None:
    table = await open_table(
        """
        model_list:
          - model_name: voice
            litellm_params: {model: openai/tts-1, api_key: k, api_base: http://one.test}
          - model_name: spare
            litellm_params: {model: openai/tts-1, api_key: k, api_base: http://two.test}
        router_settings:
          num_retries: 0
          fallbacks: [{voice: [spare]}]
        """
    )
    table.upstream.reply_to(None, sound(), host="one.test")
    table.upstream.reply_to(None, sound(b"all"), host="two.test")
    answer = await table.post("/v1/audio/speech", SPEECH)
    assert (answer.body, answer.whole) == (b"all", True)
    assert (await table.record()).fallbacks == 1


async def test_a_listener_who_leaves_pays_for_all_that_was_to_be_said_once(table: Any) -> None:
    table.upstream.reply_to(None, sound(b"half", Gate(), b"rest"))
    exchange = table.begin("/v1/audio/speech", b'{"model":"voice","input":"hello"}')
    await exchange.first_piece()
    exchange.leave()
    await exchange.end()
    record = await table.record()
    assert (record.status_code, record.cost.total) == (499, 5 * 15_000)
    assert table.upstream.requests[0].closed


async def test_an_error_is_the_clients_own_json(table: Any) -> None:
    said = {"error": {"message": "no such voice", "type": "invalid_request_error", "param": "voice"}}
    table.upstream.reply_to(None, FakeReply.json(said, status=400))
    answer = await table.post("/v1/audio/speech", SPEECH)
    assert answer.status == 400
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["error"]["message"] == "no such voice"


@pytest.mark.parametrize(
    ("reply", "status"),
    [
        (sound(b"<html>", content_type="text/html"), 502),
        (FakeReply.json({"error": {"message": "later", "code": 503}}), 503),
    ],
)
async def test_what_is_no_sound_is_a_failure(table: Any, reply: FakeReply, status: int) -> None:
    table.upstream.reply_to(None, reply)
    answer = await table.post("/v1/audio/speech", SPEECH)
    assert answer.status == status


async def test_sound_inside_of_json_passes(table: Any) -> None:
    table.upstream.reply_to(None, FakeReply.json(b'{"audio":  "aGk="}'))
    answer = await table.post("/v1/audio/speech", SPEECH)
    assert (answer.body, answer.headers["content-type"]) == (b'{"audio":  "aGk="}', "application/json")
    assert (await table.record()).cost.total == 7 * 15_000


async def test_a_content_type_that_nobody_expects_becomes_plain_bytes(table: Any) -> None:
    table.upstream.reply_to(None, sound(b"sound", content_type='audio/mpeg\x7f"'))
    answer = await table.post("/v1/audio/speech", SPEECH)
    assert answer.headers["content-type"] == "application/octet-stream"


@pytest.mark.parametrize(
    ("asked", "held"),
    [
        ({"model": "voice", "input": "a" * 100}, 100 * 15_000),
        ({"model": "voice-by-token", "input": "a" * 100}, 51 * 600 + 50 * 25 * 12_000),
        ({"model": "voice-by-token", "input": "a" * 100, "speed": 0.25}, 51 * 600 + 200 * 25 * 12_000),
        ({"model": "voice-by-token", "input": "a"}, 2 * 600 + 10 * 25 * 12_000),
    ],
)
async def test_the_hold_of_speech_is_the_longest_that_its_words_can_last(
    table: Any, asked: dict[str, Any], held: int
) -> None:
    key = await table.give_key(max_budget_nano=1_000_000_000)
    table.upstream.reply_to(None, sound(MP3_128 + bytes(1000)))
    await table.post("/v1/audio/speech", {"voice": "coral", **asked}, key=key)
    record = await table.record()
    assert record.held_nano == held
    assert not record.over_hold


async def test_a_budget_without_room_for_the_words_refuses(table: Any) -> None:
    key = await table.give_key(max_budget_nano=99 * 15_000)
    answer = await table.post("/v1/audio/speech", {"model": "voice", "input": "a" * 100}, key=key)
    assert answer.status == 422
    assert table.upstream.requests == []


@pytest.mark.parametrize("given", [{"input": 7}, {"input": None}, {}])
async def test_speech_without_words_is_a_400(table: Any, given: dict[str, Any]) -> None:
    answer = await table.post("/v1/audio/speech", {"model": "voice", **given})
    assert answer.status == 400
    assert answer.json()["error"]["param"] == "input"


# --- transcription -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/audio/transcriptions", "/v1/audio/transcriptions"])
async def test_a_recording_travels_byte_for_byte_and_its_transcript_comes_back_so(table: Any, path: str) -> None:
    reply = b'{"text":  "Hallo", "usage": {"type": "duration", "seconds": 3}}'
    table.upstream.reply_to("/v1/audio/transcriptions", FakeReply.json(reply))
    body = form(("model", b"ears"), ("language", b"de"), file=bytes(range(256)) * 10)
    answer = await table.post(path, body, headers=FORM)
    assert answer.body == reply
    assert answer.headers["content-type"] == "application/json"
    (sent,) = table.upstream.requests
    assert sent.body == body.replace(b"\r\n\r\nears\r\n", b"\r\n\r\nwhisper-1\r\n")
    assert sent.headers["content-type"] == FORM["content-type"]
    record = await table.record()
    assert record.call_type == "atranscription"
    assert (record.usage, record.usage_source) == (Usage(seconds=3.0), "provider")
    assert record.cost.total == 3 * 100_000


async def test_tokens_that_the_provider_counted_are_charged(table: Any) -> None:
    usage = {
        "type": "tokens",
        "input_tokens": 20,
        "input_token_details": {"text_tokens": 6, "audio_tokens": 14},
        "output_tokens": 45,
        "total_tokens": 65,
    }
    table.upstream.reply_to(None, FakeReply.json({"text": "a", "usage": usage}))
    await table.post("/v1/audio/transcriptions", form(("model", b"ears-by-token")), headers=FORM)
    record = await table.record()
    assert record.usage == Usage(input=6, audio_in=14, output=45)
    assert record.cost.total == 6 * 2_500 + 14 * 6_000 + 45 * 10_000


@pytest.mark.parametrize("duration", [8.5, "8.5"])
async def test_the_duration_of_a_verbose_transcript_is_charged(table: Any, duration: Any) -> None:
    table.upstream.reply_to(None, FakeReply.json({"text": "", "segments": [], "duration": duration}))
    body = form(("model", b"ears"), ("response_format", b"verbose_json"))
    await table.post("/v1/audio/transcriptions", body, headers=FORM)
    record = await table.record()
    assert (record.usage, record.usage_source) == (Usage(seconds=8.5), "provider")
    assert record.cost.total == 850_000


@pytest.mark.parametrize(
    ("wanted", "reply", "kind", "file", "seconds"),
    [
        ("srt", b"1\n00:00:00,000 --> 00:01:02,500\nHi\n", "text/plain; charset=utf-8", b"x", 62.5),
        ("vtt", b"WEBVTT\n\n00:00.000 --> 00:03.250\nHi --> you\n", "text/vtt", wav(4.0), 4.0),
        ("text", b"Hi\n", "text/plain", wav(2.5), 2.5),
        ("text", b"Hi\n", "text/plain", bytes(3_000), 3.0),
        ("json", b'{"text":"Hi"}', "application/json", wav(2.5), 2.5),
    ],
)
async def test_a_transcript_that_tells_no_usage_is_charged_by_what_it_and_its_file_tell_and_marked(
    table: Any, wanted: str, reply: bytes, kind: str, file: bytes, seconds: float
) -> None:
    table.upstream.reply_to(None, FakeReply(200, [(b"content-type", kind.encode())], (reply,)))
    body = form(("model", b"ears"), ("response_format", wanted.encode()), file=file)
    answer = await table.post("/v1/audio/transcriptions", body, headers=FORM)
    assert (answer.body, answer.headers["content-type"]) == (reply, kind)
    record = await table.record()
    assert (record.usage, record.usage_source) == (Usage(seconds=seconds), "estimated")


async def test_a_stream_of_a_transcript_passes_and_its_usage_is_charged(table: Any) -> None:
    delta = b'data: {"type":"transcript.text.delta","delta":"Hi"}\n\n'
    done = (
        b'data: {"type":"transcript.text.done","text":"Hi","usage":{"type":"tokens","input_tokens":14,'
        b'"input_token_details":{"text_tokens":0,"audio_tokens":14},"output_tokens":45,"total_tokens":59}}\n\n'
    )
    table.upstream.reply_to(None, FakeReply.stream(delta, done, b"data: [DONE]\n\n"))
    body = form(("model", b"ears-by-token"), ("stream", b"true"))
    answer = await table.post("/v1/audio/transcriptions", body, headers=FORM)
    assert answer.body == delta + done + b"data: [DONE]\n\n"
    record = await table.record()
    assert record.usage == Usage(audio_in=14, output=45)
    assert record.streamed


async def test_a_model_that_ignores_the_wish_for_a_stream_is_passed_on_all_the_same(table: Any) -> None:
    table.upstream.reply_to(None, sound(b"Hello", content_type="text/plain; charset=utf-8"))
    body = form(("model", b"ears"), ("stream", b"true"), ("response_format", b"text"), file=wav(1.5))
    answer = await table.post("/v1/audio/transcriptions", body, headers=FORM)
    assert (answer.body, answer.headers["content-type"]) == (b"Hello", "text/plain; charset=utf-8")
    assert (await table.record()).usage == Usage(seconds=1.5)


@pytest.mark.parametrize(
    ("model", "held"), [(b"ears", 50 * 100_000), (b"ears-by-token", 50 * 32 * 6_000 + 50 * 10 * 10_000 + 7 * 6_000)]
)
async def test_the_hold_of_a_recording_is_the_longest_that_its_bytes_can_last(
    table: Any, model: bytes, held: int
) -> None:
    key = await table.give_key(max_budget_nano=1_000_000_000)
    table.upstream.reply_to(None, FakeReply.json({"text": "a"}))
    for filename in ("a.ogg", ""):
        body = form(("model", model), file=bytes(50_000), filename=filename)
        await table.post("/v1/audio/transcriptions", body, headers=FORM, key=key)
    first, second = await table.records()
    assert first.held_nano == second.held_nano
    assert abs(first.held_nano - held) <= 20_000
    assert not first.over_hold


@pytest.mark.parametrize(
    ("reply", "status"),
    [
        (FakeReply(200, [(b"content-type", b"text/html")], (b"<html>",)), 502),
        (FakeReply.json({"error": {"message": "no", "code": 400}}), 400),
        (FakeReply.json({}), 502),
    ],
)
@pytest.mark.parametrize("wanted", [b"json", b"text"])
async def test_what_is_no_transcript_is_a_failure(table: Any, reply: FakeReply, status: int, wanted: bytes) -> None:
    if wanted == b"text" and reply.parts == (b"{}",):
        return  # a text may be anything
    table.upstream.reply_to(None, reply)
    body = form(("model", b"ears"), ("response_format", wanted))
    answer = await table.post("/v1/audio/transcriptions", body, headers=FORM)
    assert answer.status == status


async def test_a_caller_who_leaves_pays_for_what_was_to_be_heard(table: Any) -> None:
    table.upstream.reply_to(None, FakeReply.json({"text": "a"}, after=Gate()))
    exchange = table.begin("/v1/audio/transcriptions", form(("model", b"ears"), file=wav(30.0)), headers=FORM)
    while not table.upstream.requests:
        await asyncio.sleep(0)
    exchange.leave()
    await exchange.end()
    record = await table.record()
    assert (record.status_code, record.cost.total) == (499, 30 * 100_000)


async def test_a_recording_comes_as_a_form_or_not_at_all(table: Any) -> None:
    answer = await table.post("/v1/audio/transcriptions", {"model": "ears", "file": "a"})
    assert answer.status == 400
    assert "multipart/form-data" in answer.json()["error"]["message"]
    without = form(("model", b"ears")).replace(b'"file"', b'"other"')
    assert (await table.post("/v1/audio/transcriptions", without, headers=FORM)).json()["error"]["param"] == "file"


# --- translations --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "/v1/audio/translations",
        "/audio/translations",
        "/openai/v1/audio/translations",
        "/openai/deployments/ears/audio/translations",
    ],
)
@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")  # the SDK says so of this endpoint
async def test_a_translation_is_held_charged_and_written_down(table: Any, path: str) -> None:
    key = await table.give_key(max_budget_nano=100_000_000)
    text = {"task": "translate", "language": "english", "duration": 8.0, "text": "Good day."}
    table.upstream.reply_to("/v1/audio/translations", FakeReply.json(text))
    async with sdk(table, key, path.removesuffix("/audio/translations")) as openai:
        said = await openai.audio.translations.create(
            model="ears", file=("a.wav", bytes(20_000)), response_format="verbose_json"
        )
    assert said.text == "Good day."
    (sent,) = table.upstream.requests
    assert b'name="model"\r\n\r\nwhisper-1\r\n' in sent.body
    record = await table.record()
    assert (record.call_type, record.usage, record.cost.total) == ("atranslation", Usage(seconds=8.0), 800_000)
    assert record.held_nano == 20 * 100_000  # by the bytes of the file
    assert (await table.storage.keys.load_all())[0].spend_nano == 800_000


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")  # the SDK says so of this endpoint
async def test_a_budget_without_room_for_a_translation_refuses_it(table: Any) -> None:
    key = await table.give_key(max_budget_nano=1_999_999)
    async with sdk(table, key) as openai:
        with pytest.raises(APIStatusError) as refused:
            await openai.audio.translations.create(model="ears", file=("a.wav", bytes(20_000)))
    assert refused.value.status_code == 422
    assert table.upstream.requests == []


def sdk(table: Any, key: str, base: str = "/v1") -> AsyncOpenAI:
    transport = httpx.ASGITransport(app=table.app)
    http_client = httpx.AsyncClient(transport=transport)
    return AsyncOpenAI(api_key=key, base_url=f"http://gateway.example{base}", http_client=http_client, max_retries=0)
