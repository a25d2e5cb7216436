from __future__ import annotations

import asyncio
from typing import Any

import httpx2 as httpx
import pytest
from openai import APIStatusError, AsyncOpenAI

from tollway.calls import Usage
from tollway.testing import Cut, FakeReply, Gate

PICTURE = (
    b'{"created": 1,  "data": [{"b64_json": "aGk="}], "usage": {"total_tokens": 4210, "input_tokens": 50, '
    b'"output_tokens": 4160, "input_tokens_details": {"text_tokens": 10, "image_tokens": 40}}}'
)
BOUNDARY = "----formdata-undici-012345678901"
FORM = {"content-type": f"multipart/form-data; boundary={BOUNDARY}"}
PNG = bytes(range(256)) * 40


def form(*parts: tuple[str, bytes], files: tuple[str, ...] = ("image",)) -> bytes:
    written = [
        b'--%b\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n' % (BOUNDARY.encode(), name.encode(), value)
        for name, value in parts
    ]
    written += [
        b'--%b\r\nContent-Disposition: form-data; name="%b"; filename="a.png"\r\nContent-Type: image/png\r\n\r\n%b\r\n'
        % (BOUNDARY.encode(), name.encode(), PNG)
        for name in files
    ]
    return b"".join(written) + b"--%b--\r\n" % BOUNDARY.encode()


def event(kind: str, more: bytes = b"") -> bytes:
    return b'event: %b\ndata: {"type":"%b","b64_json":"aGk="%b}\n\n' % (kind.encode(), kind.encode(), more)


USED = b',"usage":{"input_tokens":10,"output_tokens":4260,"input_tokens_details":{"text_tokens":10,"image_tokens":0}}'


@pytest.mark.parametrize("path", ["/images/generations", "/v1/images/generations"])
async def test_only_the_model_changes_and_the_reply_is_the_providers_own_bytes(table: Any, path: str) -> None:
    table.upstream.reply_to("/v1/images/generations", FakeReply.json(PICTURE))
    answer = await table.post(path, b'{"model": "pictures", "prompt": "a  house", "n": 1, "size": "1024x1024"}')
    (sent,) = table.upstream.requests
    assert (sent.method, sent.path) == ("POST", "/v1/images/generations")
    assert sent.body == b'{"model":"gpt-image-1","prompt":"a  house","n":1,"size":"1024x1024"}'
    assert answer.headers["content-type"] == "application/json"
    assert answer.body == PICTURE
    record = await table.record()
    assert record.call_type == "aimage_generation"
    assert record.usage == Usage(input=10, image_in=40, image_out=4160, images=1)
    assert record.cost.total == 10 * 5_000 + 40 * 10_000 + 4160 * 40_000
    assert answer.headers["x-litellm-response-cost"] == f"0.{record.cost.total:09d}"


async def test_pictures_priced_by_piece_are_charged_by_those_in_the_reply(table: Any) -> None:
    table.upstream.reply_to("/v1/images/generations", FakeReply.json({"data": [{"url": "u"}, {"url": "v"}]}))
    await table.post("/v1/images/generations", {"model": "pieces", "prompt": "p", "n": 3})
    record = await table.record()
    assert record.usage == Usage(images=2)
    assert record.usage_source == "provider"
    assert record.cost.total == 2 * 40_000_000


async def test_usage_of_zeros_is_no_usage(table: Any) -> None:
    zeros = {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0}
    table.upstream.reply_to("/v1/images/generations", FakeReply.json({"data": [{}], "usage": zeros}))
    await table.post("/v1/images/generations", {"model": "pictures", "prompt": "p"})
    record = await table.record()
    assert record.usage_source == "estimated"
    assert record.usage is not None
    assert record.usage.image_out == 8192


@pytest.mark.parametrize(
    ("asked", "cost"),
    [
        ({"size": "1024x1792", "quality": "hd"}, 132_000_016),
        ({"size": "1024x1024", "quality": "standard"}, 44_000_000),
        ({}, 44_000_000),
    ],
)
async def test_a_model_listed_by_size_and_quality_is_charged_by_them(
    table: Any, asked: dict[str, str], cost: int
) -> None:
    table.upstream.reply_to(None, FakeReply.json({"data": [{"url": "u"}]}))
    await table.post("/v1/images/generations", {"model": "azure-pieces", "prompt": "p", **asked})
    (sent,) = table.upstream.requests
    assert sent.path == "/openai/deployments/dall-e-3/images/generations"
    record = await table.record()
    assert record.cost_known
    assert abs(record.cost.total - cost) < 50_000  # the list gives a price for a pixel


@pytest.mark.parametrize(
    ("body", "held"),
    [
        ({"model": "pictures", "prompt": "p", "n": 2}, 2 * 8192 * 40_000),
        ({"model": "pieces", "prompt": "p", "n": 3}, 3 * 40_000_000),
    ],
)
async def test_the_hold_is_the_dearest_picture_for_each_that_is_asked(
    table: Any, body: dict[str, Any], held: int
) -> None:
    key = await table.give_key(max_budget_nano=10_000_000_000)
    table.upstream.reply_to(None, FakeReply.json(PICTURE))
    answer = await table.post("/v1/images/generations", body, key=key)
    assert answer.status == 200
    record = await table.record()
    assert held <= record.held_nano <= held + 50 * 10_000
    assert not record.over_hold


async def test_a_budget_with_room_for_less_than_the_hold_refuses(table: Any) -> None:
    key = await table.give_key(max_budget_nano=2 * 40_000_000)
    answer = await table.post("/v1/images/generations", {"model": "pieces", "prompt": "p", "n": 3}, key=key)
    assert answer.status == 422
    assert table.upstream.requests == []


@pytest.mark.parametrize("n", [0, -1, 129, "two", 1.5])
async def test_a_count_that_makes_no_sense_is_refused(table: Any, n: Any) -> None:
    answer = await table.post("/v1/images/generations", {"model": "pictures", "prompt": "p", "n": n})
    assert answer.status == 400
    assert answer.json()["error"]["param"] == "n"


async def test_a_stream_of_partial_pictures_passes_and_its_usage_is_charged(table: Any) -> None:
    partial, done = event("image_generation.partial_image"), event("image_generation.completed", USED)
    table.upstream.reply_to("/v1/images/generations", FakeReply.stream(partial, done[:40], done[40:]))
    answer = await table.post(
        "/v1/images/generations", {"model": "pictures", "prompt": "p", "stream": True, "partial_images": 1}
    )
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.body == partial + done
    assert answer.whole
    record = await table.record()
    assert record.streamed
    assert record.usage == Usage(input=10, image_out=4260, images=1)
    assert record.cost.total == 10 * 5_000 + 4260 * 40_000


async def test_the_finishing_event_of_a_stream_goes_out_after_the_call_is_written_down(table: Any) -> None:
    gate = Gate()
    done = event("image_generation.completed", USED)
    table.upstream.reply_to(
        "/v1/images/generations", FakeReply.stream(event("image_generation.partial_image"), done, gate)
    )
    exchange = table.begin(
        "/v1/images/generations", b'{"model":"pictures","prompt":"p","stream":true,"partial_images":1}'
    )
    await exchange.first_piece()
    assert done not in exchange.body
    assert await table.records() == []
    gate.open()
    await exchange.end()
    assert exchange.body.endswith(done)
    assert (await table.record()).usage.image_out == 4260


async def test_each_of_several_pictures_of_a_stream_is_counted(table: Any) -> None:
    done = event("image_generation.completed", USED)
    table.upstream.reply_to("/v1/images/generations", FakeReply.stream(done, done))
    answer = await table.post("/v1/images/generations", {"model": "pictures", "prompt": "p", "n": 2, "stream": True})
    assert answer.body == done + done
    assert (await table.record()).usage == Usage(input=20, image_out=8520, images=2)


async def test_a_stream_that_breaks_ends_with_an_error_event(table: Any) -> None:
    partial = event("image_generation.partial_image")
    table.upstream.reply_to("/v1/images/generations", FakeReply.stream(partial, Cut()))
    answer = await table.post("/v1/images/generations", {"model": "pictures", "prompt": "p", "stream": True})
    assert answer.body.startswith(partial + b'data: {"error":')
    record = await table.record()
    assert record.status_code == 502
    assert record.usage_source == "estimated"


async def test_an_error_in_a_stream_before_any_picture_can_go_elsewhere(open_table: Any) -> None:
    table = await open_table(
        """
        model_list:
          - model_name: pictures
            litellm_params: {model: openai/gpt-image-1, api_key: k, api_base: http://one.test}
          - model_name: other
            litellm_params: {model: openai/gpt-image-1, api_key: k, api_base: http://two.test}
        router_settings:
          num_retries: 0
          fallbacks: [{pictures: [other]}]
        """
    )
    said = b'event: error\ndata: {"type":"error","error":{"code":"server_error","message":"no"}}\n\n'
    done = event("image_generation.completed", USED)
    table.upstream.reply_to(None, FakeReply.stream(said), host="one.test")
    table.upstream.reply_to(None, FakeReply.stream(done), host="two.test")
    answer = await table.post("/v1/images/generations", {"model": "pictures", "prompt": "p", "stream": True})
    assert answer.body == done
    assert (await table.record()).fallbacks == 1


async def test_a_picture_whose_client_left_while_it_was_made_is_charged(table: Any) -> None:
    gate = Gate()
    table.upstream.reply_to("/v1/images/generations", FakeReply.json(PICTURE, after=gate))
    exchange = table.begin("/v1/images/generations", b'{"model":"pieces","prompt":"p","n":2}')
    while not table.upstream.requests:
        await asyncio.sleep(0)
    exchange.leave()
    await exchange.end()
    record = await table.record()
    assert record.status_code == 499
    assert record.cost.total == 2 * 40_000_000


@pytest.mark.parametrize("path", ["/images/edits", "/v1/images/edits"])
async def test_a_form_travels_byte_for_byte_but_for_its_model(table: Any, path: str) -> None:
    table.upstream.reply_to("/v1/images/edits", FakeReply.json(PICTURE))
    body = form(("model", b"pictures"), ("prompt", b"nicer"), ("size", b"1024x1024"), files=("image[]", "image[]"))
    answer = await table.post(path, body, headers=FORM)
    assert answer.body == PICTURE
    (sent,) = table.upstream.requests
    assert sent.body == body.replace(b"\r\n\r\npictures\r\n", b"\r\n\r\ngpt-image-1\r\n")
    assert sent.headers["content-type"] == FORM["content-type"]
    record = await table.record()
    assert record.call_type == "aimage_edit"
    assert record.usage == Usage(input=10, image_in=40, image_out=4160, images=1)


async def test_the_hold_of_an_edit_does_not_grow_with_the_bytes_of_its_pictures(table: Any) -> None:
    key = await table.give_key(max_budget_nano=10_000_000_000)
    table.upstream.reply_to(None, FakeReply.json(PICTURE))
    await table.post("/v1/images/edits", form(("model", b"pictures"), ("prompt", b"x" * 100)), headers=FORM, key=key)
    assert (await table.record()).held_nano == (12_000 + 54) * 10_000 + 8192 * 40_000


async def test_a_picture_sent_without_a_files_name_is_still_held_as_one(table: Any) -> None:
    key = await table.give_key(max_budget_nano=10_000_000_000)
    table.upstream.reply_to(None, FakeReply.json(PICTURE))
    body = form(("model", b"pictures"), ("prompt", b"x"), ("image", PNG), files=())
    await table.post("/v1/images/edits", body, headers=FORM, key=key)
    assert (await table.record()).held_nano > 12_000 * 10_000


async def test_an_edit_may_be_json_that_names_its_pictures(table: Any) -> None:
    table.upstream.reply_to("/v1/images/edits", FakeReply.json(PICTURE))
    key = await table.give_key(max_budget_nano=10_000_000_000)
    body = b'{"model": "pictures", "prompt": "p", "images": [{"image_url": "http://x/y.png"}, {"file_id": "f"}]}'
    answer = await table.post("/v1/images/edits", body, key=key)
    assert answer.status == 200
    (sent,) = table.upstream.requests
    assert sent.headers["content-type"] == "application/json"
    assert sent.json()["images"] == [{"image_url": "http://x/y.png"}, {"file_id": "f"}]
    assert (await table.record()).held_nano > 2 * 12_000 * 10_000


async def test_parts_for_the_gateway_are_consumed_and_those_of_a_deployment_added(open_table: Any) -> None:
    table = await open_table(
        """
        model_list:
          - model_name: pictures
            litellm_params:
              model: openai/gpt-image-1
              api_key: k
              quality: low
              size: 512x512
              extra_body: {moderation: low, include: [a, b]}
              additional_drop_params: [background]
        """
    )
    table.upstream.reply_to(None, FakeReply.json(PICTURE))
    body = form(
        ("prompt", b"p"),
        ("model", b"pictures"),
        ("size", b"1024x1024"),
        ("background", b"opaque"),
        ("metadata[team]", b"red"),
        ("tags[]", b"x"),
        ("tags[]", b"y"),
        ("litellm_session_id", b"17"),
        ("moderation", b"auto"),
        ("user", b"mara"),
    )
    answer = await table.post("/v1/images/edits", body, headers=FORM)
    assert answer.headers["x-tollway-dropped"] == "background"
    sent = table.upstream.requests[0].body
    expected = form(
        ("prompt", b"p"), ("model", b"gpt-image-1"), ("size", b"1024x1024"), ("user", b"mara")
    ).removesuffix(b"--%b--\r\n" % BOUNDARY.encode())
    assert sent.startswith(expected)
    added = sent.removeprefix(expected)
    for name, value in ((b"quality", b"low"), (b"moderation", b"low"), (b"include[]", b"a"), (b"include[]", b"b")):
        assert b'name="%b"\r\n\r\n%b\r\n' % (name, value) in added
    assert added.count(b"Content-Disposition") == 4
    record = await table.record()
    assert (record.tags, record.session_id, record.end_user) == (("x", "y"), "17", "mara")
    assert record.metadata == b'{"team":"red"}'


async def test_a_form_cannot_choose_where_it_goes(table: Any) -> None:
    body = form(("model", b"pictures"), ("prompt", b"p"), ("api_base", b"http://evil"))
    assert (await table.post("/v1/images/edits", body, headers=FORM)).status == 401
    assert table.upstream.requests == []


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (form(("model", b"pictures"), ("prompt", b"p"), ("model", b"chat")), "model"),
        (form(("prompt", b"p")), "model"),
        (form(("model", b"pictures")), "prompt"),
        (form(("model", b"pictures"), ("prompt", b"p"), ("n", b"many")), "n"),
        (form(("model", b"pictures"), ("prompt", b"p"))[:-8], "request_body"),
    ],
)
async def test_a_form_that_cannot_be_understood_is_a_400_that_names_it(table: Any, body: bytes, param: str) -> None:
    answer = await table.post("/v1/images/edits", body, headers=FORM)
    assert answer.status == 400
    assert answer.json()["error"]["param"] == param
    assert table.upstream.requests == []


async def test_a_model_in_the_path_is_added_to_a_form_that_names_none(table: Any) -> None:
    table.upstream.reply_to("/v1/images/edits", FakeReply.json(PICTURE))
    answer = await table.post("/openai/deployments/pictures/images/edits", form(("prompt", b"p")), headers=FORM)
    assert answer.status == 200
    assert b'name="model"\r\n\r\ngpt-image-1\r\n' in table.upstream.requests[0].body


async def test_a_stream_of_an_edit_is_asked_for_by_a_part(table: Any) -> None:
    done = event("image_edit.completed", USED)
    table.upstream.reply_to("/v1/images/edits", FakeReply.stream(done))
    body = form(("model", b"pictures"), ("prompt", b"p"), ("stream", b"True"))
    answer = await table.post("/v1/images/edits", body, headers=FORM)
    assert table.upstream.requests[0].streaming
    assert answer.body == done


async def test_what_is_no_stream_of_pictures_is_a_failure(table: Any) -> None:
    table.upstream.reply_to(None, FakeReply.stream(b"<html>", content_type="text/html"))
    answer = await table.post("/v1/images/generations", {"model": "pictures", "prompt": "p", "stream": True})
    assert answer.status == 502


async def test_a_provider_that_answers_a_stream_with_json_is_understood(table: Any) -> None:
    table.upstream.reply_to(None, FakeReply.json(PICTURE))
    answer = await table.post("/v1/images/generations", {"model": "pictures", "prompt": "p", "stream": True})
    assert answer.body == PICTURE
    assert (await table.record()).usage == Usage(input=10, image_in=40, image_out=4160, images=1)


# --- variations ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("base", ["/v1", "", "/openai/v1", "/openai/deployments/pieces"])
@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")  # the SDK says so of this endpoint
async def test_variations_are_held_charged_and_written_down(table: Any, base: str) -> None:
    key = await table.give_key(max_budget_nano=80_000_000)
    table.upstream.reply_to("/v1/images/variations", FakeReply.json({"created": 1, "data": [{"url": "u"}]}))
    async with sdk(table, key, base) as openai:
        made = await openai.images.create_variation(image=("a.png", PNG), model="pieces", n=2)
    assert [picture.url for picture in made.data or ()] == ["u"]
    (sent,) = table.upstream.requests
    assert PNG in sent.body
    assert b'name="model"\r\n\r\nsome-painter\r\n' in sent.body
    record = await table.record()
    assert (record.call_type, record.usage, record.cost.total) == ("aimage_variation", Usage(images=1), 40_000_000)
    assert record.held_nano == 80_000_000
    assert (await table.storage.keys.load_all())[0].spend_nano == 40_000_000


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")  # the SDK says so of this endpoint
async def test_a_budget_without_room_for_a_variation_refuses_it(table: Any) -> None:
    key = await table.give_key(max_budget_nano=79_999_999)
    async with sdk(table, key) as openai:
        with pytest.raises(APIStatusError) as refused:
            await openai.images.create_variation(image=("a.png", PNG), model="pieces", n=2)
    assert refused.value.status_code == 422
    assert table.upstream.requests == []


async def test_a_variation_is_a_form_with_a_picture(table: Any) -> None:
    answer = await table.post("/v1/images/variations", {"model": "pieces", "image": "u"})
    assert (answer.status, answer.json()["error"]["param"]) == (400, "request_body")
    answer = await table.post("/v1/images/variations", form(("model", b"pieces"), files=()), headers=FORM)
    assert (answer.status, answer.json()["error"]["param"]) == (400, "image")


def sdk(table: Any, key: str, base: str = "/v1") -> AsyncOpenAI:
    transport = httpx.ASGITransport(app=table.app)
    http_client = httpx.AsyncClient(transport=transport)
    return AsyncOpenAI(api_key=key, base_url=f"http://gateway.example{base}", http_client=http_client, max_retries=0)
