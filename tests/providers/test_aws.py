from __future__ import annotations

import asyncio
import datetime
import hashlib
import hmac
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from msgspec import Struct
from requests_aws4auth import AWS4Auth
from requests_aws4auth.aws4signingkey import AWS4SigningKey

from tollway.calls import Secret
from tollway.errors import ConfigError, UpstreamAccountError, UpstreamFailed
from tollway.providers import MissingSetting, aws
from tollway.providers.aws import (
    RENEW_S,
    WAIT_S,
    AwsSigner,
    Identity,
    endpoint,
    identity_of,
    load_credentials,
    region_in,
    region_of,
)
from tollway.testing.upstream import FakeUpstream
from tollway.upstream.wire import Origin, WireRequest

# The keys of AWS's own examples.
KEY, SECRET = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
IDENTITY = Identity(region="us-east-1", access_key=Secret(KEY), secret_key=Secret(SECRET))


class Frozen(Struct):
    access_key: str = KEY
    secret_key: str = SECRET
    token: str | None = None


class Credentials:
    """Such as last `lasts_s` from now on, each time they are loaded."""

    def __init__(self, lasts_s: float = 1e9, token: str | None = None) -> None:
        self.lasts_s = lasts_s
        self.token = token
        self.frozen = 0
        self.threads: set[int] = set()
        self.failing: Exception | None = None

    def refresh_needed(self, seconds: int) -> bool:
        return self.lasts_s <= seconds

    def get_frozen_credentials(self) -> Frozen:
        self.threads.add(threading.get_ident())
        self.frozen += 1
        if self.failing is not None:
            raise self.failing
        return Frozen(token=self.token)


def signer_with(credentials: Any, service: str = "bedrock") -> AwsSigner:
    return AwsSigner(service, IDENTITY, load=lambda identity: credentials)


def request(head: str, body: bytes = b"", host: str = "bedrock-runtime.us-east-1.amazonaws.com") -> WireRequest:
    return WireRequest(Origin("https", host, 443), head.replace("\n", "\r\n").encode(), body)


def headers_of(signed: WireRequest) -> dict[str, str]:
    assert signed.head.endswith(b"\r\n")
    lines = signed.head.decode().split("\r\n")[1:-1]
    return dict(line.split(": ", 1) for line in lines)


class Seen(Struct):
    """A request as the other implementation wants to see it."""

    method: str
    url: str
    headers: dict[str, str]


def signature_by_another(signed: WireRequest, service: str) -> str:
    """What requests-aws4auth says the signature must be, over the headers that were signed."""
    method, target, _ = signed.head.split(b"\r\n")[0].decode().split(" ")
    headers = headers_of(signed)
    include = re.search(r"SignedHeaders=([^,]+)", headers["authorization"])
    assert include is not None
    seen = Seen(method, f"https://{headers['host']}{target}", {**headers})
    seen.headers["x-amz-content-sha256"] = hashlib.sha256(signed.body).hexdigest()
    date = headers["x-amz-date"][:8]
    auth = AWS4Auth(KEY, SECRET, "us-east-1", service, date=date)
    canonical = auth.get_canonical_request(seen, *AWS4Auth.get_canonical_headers(seen, include[1].split(";")))
    key = AWS4SigningKey(SECRET, "us-east-1", service, date)
    return hmac.new(key.key, auth.get_sig_string(seen, canonical, key.scope).encode(), hashlib.sha256).hexdigest()


# --- signatures ----------------------------------------------------------------------------------------------------

HEADS = {
    "a model": (
        "POST /model/anthropic.claude-3-haiku-20240307-v1%3A0/converse HTTP/1.1\n"
        "host: bedrock-runtime.us-east-1.amazonaws.com\n"
        "user-agent: tollway/1\naccept-encoding: identity\ncontent-type: application/json\n"
    ),
    "an ARN": (
        "POST /model/arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Ainference-profile%2Fus.x/converse-stream HTTP/1.1\n"
        "host: h:8080\nx-amzn-bedrock-trace: ENABLED\ncontent-type: application/json\n"
    ),
    "a query": "POST /base/model/a~b_c/invoke?x=1&a=2 HTTP/1.1\nhost: h\ncontent-type: application/json\n",
}


@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
@pytest.mark.parametrize("token", [None, "the-session's-token/+="])
@pytest.mark.parametrize("body", [b"", b'{"messages": []}', "ö☃".encode()])
async def test_another_implementation_agrees_with_the_signature(head: str, token: str | None, body: bytes) -> None:
    signer = signer_with(Credentials(token=token))
    await signer.prepare(FakeUpstream())
    signed = request(head, body)
    signer.sign(signed)
    headers = headers_of(signed)
    assert headers["authorization"].endswith(f"Signature={signature_by_another(signed, 'bedrock')}")
    assert headers.get("x-amz-security-token") == token
    named = re.search(r"SignedHeaders=([^,]+)", headers["authorization"])
    assert named is not None
    wanted = {"host", "content-type", "x-amz-date"} | ({"x-amz-security-token"} if token else set())
    assert set(named[1].split(";")) >= wanted
    assert "accept-encoding" not in named[1]


async def test_the_published_example_is_signed_as_it_is_published(monkeypatch: pytest.MonkeyPatch) -> None:
    # "post-vanilla" of AWS's Signature Version 4 test suite,
    # https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-test-suite.html (2026-11-22)
    moment = datetime.datetime(2015, 8, 30, 12, 36, tzinfo=datetime.UTC)
    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda: moment)
    signer = signer_with(Credentials(), "service")
    await signer.prepare(FakeUpstream())
    signed = request("POST / HTTP/1.1\nhost: example.amazonaws.com\n")
    signer.sign(signed)
    assert headers_of(signed)["authorization"] == (
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, SignedHeaders=host;x-amz-date, "
        "Signature=5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"
    )


# --- credentials ---------------------------------------------------------------------------------------------------


async def test_credentials_are_loaded_once_for_all_who_wait_and_never_in_the_loop() -> None:
    credentials = Credentials()
    signer = signer_with(credentials)
    upstream = FakeUpstream()
    await asyncio.gather(*(signer.prepare(upstream) for _ in range(10)))
    await signer.prepare(upstream)
    assert credentials.frozen == 1
    assert threading.get_ident() not in credentials.threads


async def test_credentials_that_last_are_renewed_beside_the_calls() -> None:
    credentials = Credentials()
    signer = signer_with(credentials)
    await signer.prepare(FakeUpstream())
    credentials.lasts_s = RENEW_S - 1
    await signer.prepare(FakeUpstream())
    assert credentials.frozen == 1  # nobody waited
    assert signer._renewing is not None
    await signer._renewing
    assert credentials.frozen == 2


async def test_credentials_that_are_about_to_expire_are_waited_for() -> None:
    credentials = Credentials()
    signer = signer_with(credentials)
    await signer.prepare(FakeUpstream())
    credentials.lasts_s = WAIT_S - 1
    await signer.prepare(FakeUpstream())
    assert credentials.frozen == 2


async def test_a_renewal_that_fails_harms_nobody_while_the_old_ones_last() -> None:
    credentials = Credentials()
    signer = signer_with(credentials)
    await signer.prepare(FakeUpstream())
    credentials.lasts_s, credentials.failing = RENEW_S - 1, OSError("no such file")
    await signer.prepare(FakeUpstream())
    task = signer._renewing
    assert task is not None
    await asyncio.wait([task])
    signer.sign(request("POST / HTTP/1.1\nhost: h\n"))
    credentials.lasts_s = WAIT_S - 1
    with pytest.raises(UpstreamAccountError, match="OSError"):
        await signer.prepare(FakeUpstream())


async def test_no_credentials_are_an_account_error_that_tells_no_secret() -> None:
    signer = signer_with(None)
    with pytest.raises(UpstreamAccountError, match="none were found") as raised:
        await signer.prepare(FakeUpstream())
    assert raised.value.status == 503
    assert not raised.value.retryable_by_client


async def test_credentials_that_do_not_come_are_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aws, "LOAD_S_MAX", 0.01)
    come = threading.Event()

    def load(identity: Identity) -> Credentials:
        come.wait(10)
        return Credentials()

    signer = AwsSigner("bedrock", IDENTITY, load=load)
    with pytest.raises(UpstreamFailed, match="did not come"):
        await signer.prepare(FakeUpstream())
    task = signer._renewing
    come.set()
    assert task is not None
    await task
    await signer.prepare(FakeUpstream())


async def test_a_caller_that_leaves_stops_nobody_elses_wait() -> None:
    come = threading.Event()

    def load(identity: Identity) -> Credentials:
        come.wait(10)
        return Credentials()

    signer = AwsSigner("bedrock", IDENTITY, load=load)
    leaving = asyncio.create_task(signer.prepare(FakeUpstream()))
    staying = asyncio.create_task(signer.prepare(FakeUpstream()))
    await asyncio.sleep(0)
    leaving.cancel()
    come.set()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    await staying
    signer.sign(request("POST / HTTP/1.1\nhost: h\n"))


# --- how botocore is asked -----------------------------------------------------------------------------------------

GIVEN = """<{0}Response xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><{0}Result><Credentials>
<AccessKeyId>ASIAROLE</AccessKeyId><SecretAccessKey>rolesecret</SecretAccessKey><SessionToken>roletoken</SessionToken>
<Expiration>2099-01-01T00:00:00Z</Expiration></Credentials></{0}Result></{0}Response>"""


class Sts:
    """A token service on loopback; `asked` are the forms and headers that came."""

    def __init__(self) -> None:
        self.asked: list[tuple[dict[str, list[str]], str]] = []
        sts = self

        class Answers(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                form = parse_qs(self.rfile.read(int(self.headers["content-length"])).decode())
                sts.asked.append((form, self.headers.get("authorization", "")))
                body = GIVEN.format(form["Action"][0]).encode()
                self.send_response(200)
                self.send_header("content-type", "text/xml")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Answers)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def sts(clean: None) -> Iterator[Sts]:
    service = Sts()
    thread = threading.Thread(target=service.server.serve_forever, args=(0.01,))
    thread.start()
    yield service
    service.server.shutdown()
    service.server.server_close()
    thread.join()


@pytest.fixture
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing of this machine's own."""
    for name in ("AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_ROLE_ARN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy"):
        monkeypatch.delenv(name, raising=False)


def test_written_keys_are_taken_as_they_are(clean: None) -> None:
    identity = Identity("us-east-1", Secret("AKIA1"), Secret("s1"), Secret("t1"))
    frozen = load_credentials(identity).get_frozen_credentials()
    assert (frozen.access_key, frozen.secret_key, frozen.token) == ("AKIA1", "s1", "t1")


def test_a_profile_is_read_from_its_file(clean: None, tmp_path: Path) -> None:
    (tmp_path / "credentials").write_text("[work]\naws_access_key_id=AKIAWORK\naws_secret_access_key=s\n")
    frozen = load_credentials(Identity("us-east-1", profile="work")).get_frozen_credentials()
    assert frozen.access_key == "AKIAWORK"


def test_a_machine_without_credentials_has_none(clean: None) -> None:
    assert load_credentials(Identity("us-east-1")) is None


async def test_a_profile_that_is_not_there_is_an_account_error(clean: None) -> None:
    signer = AwsSigner("bedrock", Identity("us-east-1", profile="nobody"))
    with pytest.raises(UpstreamAccountError, match="ProfileNotFound"):
        await signer.prepare(FakeUpstream())


def test_a_role_is_taken_with_the_keys_that_were_written(sts: Sts) -> None:
    identity = Identity(
        "eu-west-1",
        Secret("AKIABASE"),
        Secret("s"),
        role="arn:aws:iam::1:role/caller",
        session_name="desk",
        external_id="ext",
        sts_endpoint=sts.url,
    )
    credentials = load_credentials(identity)
    frozen = credentials.get_frozen_credentials()
    assert (frozen.access_key, frozen.secret_key, frozen.token) == ("ASIAROLE", "rolesecret", "roletoken")
    assert not credentials.refresh_needed(RENEW_S)
    ((form, authorization),) = sts.asked
    assert form["RoleArn"] == ["arn:aws:iam::1:role/caller"]
    assert (form["RoleSessionName"], form["ExternalId"]) == (["desk"], ["ext"])
    assert "Credential=AKIABASE/" in authorization
    assert "/eu-west-1/sts/" in authorization


def test_a_web_identity_takes_its_role_without_keys(sts: Sts, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("jwt-of-the-pod\n")
    for written in (str(token), "jwt-of-the-pod"):
        identity = Identity(
            "eu-west-1", role="arn:aws:iam::1:role/pod", web_identity_token=Secret(written), sts_endpoint=sts.url
        )
        assert load_credentials(identity).get_frozen_credentials().access_key == "ASIAROLE"
    assert [form["WebIdentityToken"] for form, _ in sts.asked] == [["jwt-of-the-pod"]] * 2
    assert [authorization for _, authorization in sts.asked] == ["", ""]


# --- what is written -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("params", "environment", "named", "expected"),
    [
        ({"aws_region_name": "eu-west-1"}, {"AWS_REGION": "us-east-1"}, "us-west-2", "eu-west-1"),
        ({"aws_region": "eu-west-3"}, {}, "us-west-2", "eu-west-3"),
        ({}, {"AWS_REGION": "us-east-1"}, "us-west-2", "us-west-2"),
        ({}, {"AWS_REGION_NAME": "us-gov-west-1", "AWS_REGION": "us-east-1"}, "", "us-gov-west-1"),
        ({}, {"AWS_DEFAULT_REGION": "ap-southeast-12"}, "", "ap-southeast-12"),
    ],
)
def test_the_region_is_the_nearest_one(
    entry: Any, params: dict[str, str], environment: dict[str, str], named: str, expected: str
) -> None:
    variables = {name: Secret(value) for name, value in environment.items()}
    assert region_of("bedrock", entry(provider_params=params), variables, named) == expected


def test_a_region_that_is_none_never_becomes_a_host(entry: Any) -> None:
    with pytest.raises(MissingSetting, match="a region"):
        region_of("bedrock", entry(), {})
    with pytest.raises(ConfigError, match=r"evil\.example"):
        region_of("bedrock", entry(provider_params={"aws_region_name": "evil.example/"}), {})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("us-west-2/anthropic.claude-v2", "us-west-2"),
        ("arn:aws:bedrock:eu-central-1:1:inference-profile/x", "eu-central-1"),
        ("arn:aws-us-gov:bedrock:us-gov-east-1:1:custom-model/x", "us-gov-east-1"),
        ("us.anthropic.claude-v2", ""),
        ("anthropic/claude", ""),
    ],
)
def test_a_name_may_hold_its_region(text: str, expected: str) -> None:
    assert region_in(text) == expected


def test_china_has_a_domain_of_its_own() -> None:
    assert endpoint("bedrock-runtime", "us-east-1") == "https://bedrock-runtime.us-east-1.amazonaws.com"
    assert endpoint("bedrock-runtime", "cn-north-1") == "https://bedrock-runtime.cn-north-1.amazonaws.com.cn"


def test_what_an_entry_says_of_its_credentials_goes_before_the_variables(entry: Any) -> None:
    variables = {
        "AWS_ACCESS_KEY_ID": Secret("AKIAENV"),
        "AWS_SECRET_ACCESS_KEY": Secret("s"),
        "AWS_PROFILE": Secret("p"),
    }
    found = identity_of("bedrock", entry(), variables, "us-east-1")
    assert (found.access_key, found.profile) == (Secret("AKIAENV"), "p")
    own = {
        "aws_access_key_id": Secret("AKIAOWN"),
        "aws_secret_access_key": Secret("t"),
        "aws_session_token": Secret("u"),
    }
    found = identity_of("bedrock", entry(provider_params=own), variables, "us-east-1")
    assert (found.access_key, found.secret_key, found.session_token) == (Secret("AKIAOWN"), Secret("t"), Secret("u"))
    assert found.profile == ""
    found = identity_of("bedrock", entry(provider_params={"aws_profile_name": "desk"}), variables, "us-east-1")
    assert (found.access_key, found.profile) == (None, "desk")


@pytest.mark.parametrize(
    ("params", "missing"),
    [
        ({"aws_access_key_id": "AKIA"}, "aws_secret_access_key"),
        ({"aws_web_identity_token": "jwt"}, "aws_role_name"),
    ],
)
def test_half_of_what_is_needed_is_named(entry: Any, params: dict[str, str], missing: str) -> None:
    with pytest.raises(MissingSetting, match=missing):
        identity_of("bedrock", entry(provider_params=params), {}, "us-east-1")


def test_a_missing_extra_is_named(entry: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingSetting, match=r"pip install 'tollway\[bedrock\]'"):
        identity_of("bedrock", entry(), {}, "us-east-1")
