from __future__ import annotations

from contextlib import suppress
from email import policy
from email.parser import BytesParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tollway.errors import BadRequest
from tollway.multipart import PARTS_MAX, Form, is_form, read_form

BOUNDARY = b"----WebKitFormBoundary7MA4YWxk"
TYPE = b"multipart/form-data; boundary=" + BOUNDARY


def part(name: str, value: bytes, *, filename: str | None = None, more: bytes = b"") -> bytes:
    file = b"" if filename is None else b'; filename="%b"' % filename.encode()
    return b'--%b\r\nContent-Disposition: form-data; name="%b"%b\r\n%b\r\n%b\r\n' % (
        BOUNDARY,
        name.encode(),
        file,
        more,
        value,
    )


def body_of(*parts: bytes) -> bytes:
    return b"".join(parts) + b"--" + BOUNDARY + b"--\r\n"


def values(form: Form) -> list[tuple[str, bytes]]:
    return [(each.name, bytes(form.view(each))) for each in form.parts]


names = st.text(st.characters(blacklist_characters='"\\\r\n\x00', blacklist_categories=["Cs"]), min_size=1, max_size=12)
contents = st.binary(max_size=60) | st.sampled_from([b"\r\n", b"--", b"\r\n--", b"\r\n--" + BOUNDARY[:-1], b"\r\n\r\n"])
forms = st.lists(st.tuples(names, contents, st.none() | st.just("f.bin")), max_size=6)


@given(forms)
def test_whatever_a_form_holds_is_found_where_it_stands(given_parts: list[tuple[str, bytes, str | None]]) -> None:
    body = body_of(*(part(name, value, filename=file) for name, value, file in given_parts))
    form = read_form(body, TYPE)
    assert values(form) == [(name, value) for name, value, _ in given_parts]
    assert [each.is_file for each in form.parts] == [file is not None for *_, file in given_parts]


@given(forms, st.integers(0, 5), st.binary(max_size=20), st.lists(st.tuples(names, st.binary(max_size=20)), max_size=3))
def test_what_is_not_changed_keeps_every_byte(
    given_parts: list[tuple[str, bytes, str | None]], at: int, new: bytes, added: list[tuple[str, bytes]]
) -> None:
    body = body_of(*(part(name, value, filename=file) for name, value, file in given_parts))
    form = read_form(body, TYPE)
    assert form.rewritten(replaced={}) == body
    if at >= len(given_parts):
        return
    chosen = given_parts[at][0]
    expected = [(name, new if name == chosen else value) for name, value, _ in given_parts]
    changed = form.rewritten(replaced={chosen: new}, added=added)
    assert values(read_form(changed, TYPE)) == expected + added
    dropped = form.rewritten(replaced={}, dropped={chosen})
    assert dropped == body_of(
        *(part(name, value, filename=file) for name, value, file in given_parts if name != chosen)
    )
    form.hide({chosen})
    assert form.rewritten(replaced={}) == dropped


@given(st.binary(max_size=300) | forms.map(lambda given: body_of(*(part(n, v, filename=f) for n, v, f in given))))
def test_a_body_is_read_or_refused_and_nothing_else(body: bytes) -> None:
    for cut in {0, len(body) // 3, len(body) - 1, len(body)}:
        with suppress(BadRequest):
            read_form(body[: max(cut, 0)], TYPE)


def test_another_reader_finds_the_same() -> None:
    body = body_of(
        part("model", b"gpt-image-1"),
        part("image[]", bytes(range(256)), filename="a;b.png", more=b"Content-Type: image/png\r\n"),
        part("prompt", b"ein Haus\r\n--am See"),
    )
    changed = read_form(body, TYPE).rewritten(replaced={"model": b"theirs"}, added=[("n", b"2")])
    message = BytesParser(policy=policy.HTTP).parsebytes(b"Content-Type: %b\r\n\r\n%b" % (TYPE, changed))
    told = {p.get_param("name", header="content-disposition"): p.get_payload(decode=True) for p in message.iter_parts()}
    assert told["model"] == b"theirs"
    assert told["n"] == b"2"
    assert told["prompt"] == b"ein Haus\r\n--am See"
    assert list(told) == ["model", "image[]", "prompt", "n"]


@pytest.mark.parametrize(
    "content_type",
    [
        b'multipart/form-data; boundary="' + BOUNDARY + b'"',
        b"Multipart/Form-Data;charset=utf-8; Boundary=" + BOUNDARY,
        b"multipart/form-data; boundary=" + BOUNDARY + b";",
    ],
)
def test_a_boundary_is_read_however_it_is_written(content_type: bytes) -> None:
    assert is_form(content_type)
    assert values(read_form(body_of(part("a", b"b")), content_type)) == [("a", b"b")]


@pytest.mark.parametrize(
    "content_type",
    [
        b"multipart/form-data",
        b"multipart/form-data; boundary=",
        b"multipart/form-data; boundary=a; boundary=b",
        b"multipart/form-data; boundary=" + b"a" * 71,
        b'multipart/form-data; boundary="a\x01b"',
        b'multipart/form-data; boundary="a',
    ],
)
def test_a_content_type_without_one_sound_boundary_is_refused(content_type: bytes) -> None:
    with pytest.raises(BadRequest):
        read_form(body_of(part("a", b"b")), content_type)


def test_json_is_no_form() -> None:
    assert not is_form(b"application/json")
    assert not is_form(b"")


HEAD = b"--" + BOUNDARY + b"\r\n"
END = b"\r\n--" + BOUNDARY + b"--\r\n"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"preamble\r\n" + body_of(part("a", b"b")),
        body_of(part("a", b"b")) + b"epilogue",
        body_of(part("a", b"b"))[:-6],
        HEAD + b"\r\nvalue" + END,
        HEAD + b"Content-Type: text/plain\r\n\r\nvalue" + END,
        HEAD + b'Content-Disposition: attachment; name="a"\r\n\r\nvalue' + END,
        HEAD + b'Content-Disposition: form-data; filename="a"\r\n\r\nvalue' + END,
        HEAD + b'Content-Disposition: form-data; name="a"; name="model"\r\n\r\nvalue' + END,
        HEAD + b"Content-Disposition: form-data; name=\"a\"; name*=utf-8''model\r\n\r\nvalue" + END,
        HEAD + b'Content-Disposition: form-data; name="mo\\del"\r\n\r\nvalue' + END,
        HEAD + b'Content-Disposition: form-data; name="a\xff"\r\n\r\nvalue' + END,
        HEAD + b'Content-Disposition: form-data;\r\n name="a"\r\n\r\nvalue' + END,
        HEAD + b'Content-Disposition: form-data; name="a"\nX: y\r\n\r\nvalue' + END,
        HEAD + b'Content-Disposition: form-data; name="a"\r\n' * 2 + b"\r\nvalue" + END,
        HEAD + b'Content-Disposition: form-data; name="a"\r\nContent-Transfer-Encoding: base64\r\n\r\nvalue' + END,
        HEAD + b'Content-Disposition: form-data; name="a"\r\nX: ' + b"y" * 9000 + b"\r\n\r\nvalue" + END,
        HEAD + b'Content-Disposition: form-data; name="a"\r\n\r\n' + END[2:],
        HEAD + b'Content-Disposition: form-data; name="a"\r\n\r\nvalue\r\n--' + BOUNDARY + b"x\r\n" + END,
        HEAD.replace(b"\r\n", b"\n") + b'Content-Disposition: form-data; name="a"\n\nvalue' + END,
        part("a", b"b") * (PARTS_MAX + 1) + END[2:],
    ],
)
def test_what_two_readers_could_understand_differently_is_refused(body: bytes) -> None:
    with pytest.raises(BadRequest, match="multipart form cannot be read"):
        read_form(body, TYPE)


def test_a_field_that_is_read_stands_once_and_is_a_short_text() -> None:
    form = read_form(
        body_of(
            part("n", b"1"),
            part("n", b"2"),
            part("f", b"x", filename="f"),
            part("u", b"\xff"),
            part("t", b"t" * 70_000),
        ),
        TYPE,
    )
    assert form.text("other") is None
    for name in ("n", "f", "u", "t"):
        with pytest.raises(BadRequest) as refused:
            form.text(name)
        assert refused.value.param == name


def test_a_new_value_cannot_end_its_part() -> None:
    form = read_form(body_of(part("model", b"a")), TYPE)
    with pytest.raises(BadRequest):
        form.rewritten(replaced={"model": b"x\r\n--" + BOUNDARY + b"\r\n"})


def test_a_name_that_is_added_is_written_as_browsers_do() -> None:
    form = read_form(body_of(part("a", b"b")), TYPE)
    assert b'name="x%22%0D%0Ay"' in form.rewritten(replaced={}, added=[('x"\r\ny', b"1")])
