from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from tollway.calls import Secret
from tollway.config.settings import ModelEntry
from tollway.errors import ConfigError
from tollway.providers import MissingSetting, registry
from tollway.providers.oci import Identity, OracleSigner
from tollway.testing import FakeUpstream
from tollway.testing.gateway import SmallGateway, chat_reply
from tollway.testing.upstream import FakeReply, read_request
from tollway.upstream.wire import Deadlines, Origin, WireRequest

CHICAGO = "inference.generativeai.us-chicago-1.oci.oraclecloud.com"
COMPARTMENT = "ocid1.compartment.oc1..c"
FREE = {"input_cost_per_token": "0", "output_cost_per_token": "0"}


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@pytest.fixture
def pem(key: rsa.RSAPrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def params(**changes: Any) -> dict[str, Any]:
    return {
        "oci_region": "us-chicago-1",
        "oci_tenancy": "ocid1.tenancy.oc1..t",
        "oci_user": "ocid1.user.oc1..u",
        "oci_fingerprint": "20:3b:97",
        "oci_compartment_id": COMPARTMENT,
        **changes,
    }


def oci(**changes: Any) -> ModelEntry:
    return ModelEntry(model_name="small", provider_model="oci/xai.grok-4", prices=FREE, **changes)


def verify(key: rsa.RSAPrivateKey, request: Any) -> None:
    """https://docs.oracle.com/en-us/iaas/Content/API/Concepts/signingrequests.htm (2026-11-22)"""
    said = dict(re.findall(r'(\w+)="([^"]*)"', request.headers["authorization"].removeprefix("Signature ")))
    assert said["version"] == "1"
    assert said["algorithm"] == "rsa-sha256"
    assert said["keyId"] == "ocid1.tenancy.oc1..t/ocid1.user.oc1..u/20:3b:97"
    assert said["headers"] == "date (request-target) host content-length content-type x-content-sha256"
    digest = base64.b64encode(hashlib.sha256(request.body).digest()).decode()
    assert request.headers["x-content-sha256"] == digest
    values = {
        **request.headers,
        "(request-target)": f"{request.method.lower()} {request.path}",
        "content-length": str(len(request.body)),
    }
    text = "\n".join(f"{name}: {values[name]}" for name in said["headers"].split(" "))
    key.public_key().verify(base64.b64decode(said["signature"]), text.encode(), padding.PKCS1v15(), hashes.SHA256())


async def test_a_request_is_signed_with_the_user_s_key_and_names_the_compartment(
    tmp_path: Path, key: rsa.RSAPrivateKey, pem: str
) -> None:
    file = tmp_path / "key.pem"
    file.write_text(pem)
    async with SmallGateway(tmp_path, [oci(provider_params=params(oci_key_file=str(file)))]) as gateway:
        gateway.upstream.reply_to("/openai/v1/chat/completions", chat_reply())
        assert (await gateway.ask()).status == 200
        sent = gateway.upstream.requests[0]
        assert sent.origin.host == CHICAGO
        assert sent.headers["compartmentid"] == sent.headers["opc-compartment-id"] == COMPARTMENT
        assert sent.json()["model"] == "xai.grok-4"
        verify(key, sent)


async def test_a_key_on_one_line_is_read_and_the_date_is_the_clock_s(key: rsa.RSAPrivateKey, pem: str) -> None:
    identity = Identity("ocid1.tenancy.oc1..t/ocid1.user.oc1..u/20:3b:97", Secret(pem.replace("\n", "\\n")), "")
    signer = OracleSigner(identity, wall=lambda: 1_388_890_860.0)
    await signer.prepare(FakeUpstream())
    head = b"POST /v1/x HTTP/1.1\r\nhost: h\r\ncontent-type: application/json\r\n"
    request = WireRequest(Origin("https", "h", 443), head, b'{"a":1}')
    signer.sign(request)
    seen = read_request(request, Deadlines())
    assert seen.headers["date"] == "Sun, 05 Jan 2014 03:01:00 GMT"
    verify(key, seen)


@pytest.mark.parametrize("written", ["no key", ""])
async def test_a_key_that_cannot_be_read_is_told_without_it(written: str, tmp_path: Path) -> None:
    file = tmp_path / "key.pem"
    if written:
        file.write_text(written)
    async with SmallGateway(tmp_path, [oci(provider_params=params(oci_key_file=str(file)))]) as gateway:
        answer = await gateway.ask()
        assert answer.status == 503
        assert "cannot read its key for Oracle Cloud" in answer.json()["error"]["message"]
        assert gateway.upstream.requests == []


async def test_an_api_key_of_the_service_is_a_bearer_and_responses_pass(tmp_path: Path) -> None:
    settings = {"oci_region": "us-chicago-1", "oci_compartment_id": COMPARTMENT}
    async with SmallGateway(tmp_path, [oci(api_key=Secret("sk-oci"), provider_params=settings)]) as gateway:
        said: dict[str, Any] = {
            "id": "resp_1",
            "object": "response",
            "status": "completed",
            "model": "m",
            "output": [],
            "usage": None,
        }
        gateway.upstream.reply_to("/openai/v1/responses", FakeReply.json(said))
        answer = await gateway.ask(path="/v1/responses", input="hi")
        assert answer.status == 200
        sent = gateway.upstream.requests[0]
        assert sent.headers["authorization"] == "Bearer sk-oci"
        assert sent.headers["opc-compartment-id"] == COMPARTMENT
        assert "x-content-sha256" not in sent.headers


def test_what_lacks_is_named() -> None:
    provider: Any = registry.find("oci")
    with pytest.raises(MissingSetting, match="OCI_GENAI_API_KEY or api_key or OCI_USER"):
        provider.signer(oci(), {})
    with pytest.raises(MissingSetting, match="OCI_FINGERPRINT"):
        provider.signer(oci(provider_params=params(oci_fingerprint="")), {})
    with pytest.raises(MissingSetting, match="OCI_KEY_FILE"):
        provider.signer(oci(provider_params=params()), {})
    with pytest.raises(MissingSetting, match="OCI_REGION"):
        provider.base_url(oci(), {})
    with pytest.raises(ConfigError, match="us-chicago-1"):
        provider.base_url(oci(provider_params={"oci_region": "evil.example/"}), {})
