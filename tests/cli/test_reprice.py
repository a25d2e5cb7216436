"""`tollway reprice`."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from tollway.calls import Cost, Usage
from tollway.cli import main
from tollway.config import load
from tollway.config.places import DATA_FILE
from tollway.snapshot import deployment_id
from tollway.storage import KeyRecord, SpendFilter, open_storage
from tollway.storage.record import CallRecord, decode_record, encode_record

CONFIG = """
model_list:
  - model_name: mine
    litellm_params: {{model: openai/my-own, api_key: sk-of-nobody, input_cost_per_token: {price}, output_cost_per_token: 0}}
  - model_name: openai/*
    litellm_params: {{model: openai/*, api_key: sk-of-nobody}}
  - model_name: unpriced
    litellm_params: {{model: openai/nobody-knows, api_key: sk-of-nobody}}
"""
DAY_US = 86_400_000_000
NOVEMBER_US = int(datetime(2025, 11, 10, tzinfo=UTC).timestamp()) * 1_000_000
KEY = sha256(b"sk-mine").digest()


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., int]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CONFIG_FILE_PATH", raising=False)
    monkeypatch.delenv("DATABASE_URL", raising=False)
    (tmp_path / "config.yaml").write_text(CONFIG.format(price="0.000001"))

    def run(*arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["tollway", "reprice", "--config", "config.yaml", *arguments])
        with pytest.raises(SystemExit) as ended:
            main.run()
        assert isinstance(ended.value.code, int)
        return ended.value.code

    return run


@pytest.fixture
def kept(command: Callable[..., int], tmp_path: Path) -> Path:
    """A storage with calls of two days, charged at a dollar for a million tokens."""
    config = load(str(tmp_path / "config.yaml"))
    mine, wild, unpriced = (deployment_id(entry) for entry in config.models)

    def call(seq: int, deployment: str, group: str, target: str, nano: int, **fields: Any) -> tuple[CallRecord, bytes]:
        values: dict[str, Any] = {
            "deployment_id": deployment,
            "model": group,
            "model_group": group,
            "provider": "openai",
            "provider_model": target,
            "key": KEY,
            "key_alias": "me",
            "usage": Usage(input=1000),
            "cost": Cost(total=nano, input=nano),
            "price_version": "v1",
            "charges": (("key", KEY.hex(), 0, nano), ("global", "", 0, nano)),
            **fields,
        }
        at = NOVEMBER_US + (seq // 10) * DAY_US + seq
        record = CallRecord(7, seq, at, at + 1000, **values)
        return record, encode_record(record)

    async def fill() -> None:
        storage = await open_storage(tmp_path / DATA_FILE)
        await storage.keys.create(KeyRecord(token=KEY, key_name="sk-...mine", key_alias="me"))
        await storage.spend.ingest(
            [
                call(1, mine, "mine", "openai/my-own", 1_000_000),
                call(2, mine, "mine", "openai/my-own", 1_000_000, key=None, key_alias=None, charges=()),
                call(3, f"{wild}:openai/gpt-4o", "openai/gpt-4o", "openai/gpt-4o", 1_000_000),
                call(4, unpriced, "unpriced", "openai/nobody-knows", 0, price_version="", cost_known=False),
                call(5, "gone", "gone", "openai/gpt-4o", 1_000_000),
                call(6, mine, "mine", "openai/my-own", 500, price_version="", usage=None),
                call(11, mine, "mine", "openai/my-own", 1_000_000),
            ]
        )
        await storage.close()

    asyncio.run(fill())
    return tmp_path / DATA_FILE


def spent(path: Path) -> tuple[int, int, int]:
    """(the key's spend, the gateway's, the sum of all days) in nano-dollars."""

    async def read() -> tuple[int, int, int]:
        storage = await open_storage(path)
        key = await storage.keys.get(KEY)
        whole = await storage.spend.spent("global", "")
        (everything,) = await storage.spend.groups([], SpendFilter())
        await storage.close()
        assert key is not None
        assert whole is not None
        return key.spend_nano, whole.spend_nano, everything.spend_nano

    return asyncio.run(read())


def shown(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


def test_differences_are_shown_and_nothing_is_changed_without_apply(
    command: Callable[..., int], kept: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    before = spent(kept)
    (tmp_path / "config.yaml").write_text(CONFIG.format(price="0.000003"))
    assert command("--since", "2025-11-01", "--json") == 0
    told = shown(capsys)
    assert {name: told[name] for name in ("looked_at", "left_alone", "without_deployment", "still_unpriced")} == {
        "looked_at": 7,
        "left_alone": 1,
        "without_deployment": 1,
        "still_unpriced": 1,
    }
    assert (told["differ"], told["applied"]) == (4, None)
    assert told["by_key_and_model"] == [
        {"key": "(master key)", "model": "mine", "calls": 1, "spend_before": 0.001, "spend_after": 0.003},
        {"key": "me", "model": "mine", "calls": 2, "spend_before": 0.002, "spend_after": 0.006},
        {"key": "me", "model": "openai/gpt-4o", "calls": 1, "spend_before": 0.001, "spend_after": 0.0025},
    ]
    assert command("--since", "2025-11-01") == 0
    text = capsys.readouterr().out
    assert "4 of 7 calls cost something else" in text
    assert "nothing was changed; --apply does" in text
    assert "+$0.007500" in text
    assert spent(kept) == before


def test_applied_once_it_is_in_the_row_the_budgets_and_the_sums_and_twice_changes_nothing(
    command: Callable[..., int], kept: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    key, whole, everything = spent(kept)
    (tmp_path / "config.yaml").write_text(CONFIG.format(price="0.000003"))
    assert command("--since", "2025-11-01", "--apply", "--json") == 0
    assert shown(capsys)["applied"] == 4
    assert spent(kept) == (key + 5_500_000, whole + 5_500_000, everything + 7_500_000)
    assert command("--since", "2025-11-01", "--apply") == 0
    assert "0 calls were charged again" in capsys.readouterr().out
    assert spent(kept) == (key + 5_500_000, whole + 5_500_000, everything + 7_500_000)

    async def first() -> CallRecord:
        storage = await open_storage(kept)
        row = await storage.spend.row(7, 1)
        await storage.close()
        assert row is not None
        return decode_record(row.detail)

    record = asyncio.run(first())
    assert (record.cost.total, record.price_version[:7]) == (3_000_000, "config:")


def test_only_the_days_and_the_model_that_were_named_are_charged_again(
    command: Callable[..., int], kept: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "config.yaml").write_text(CONFIG.format(price="0.000003"))
    assert command("--since", "2025-11-11", "--json") == 0
    assert shown(capsys)["differ"] == 1
    assert command("--since", "2025-11-10", "--until", "2025-11-10", "--json") == 0
    assert shown(capsys)["differ"] == 3
    assert command("--since", "2025-11-01", "--model", "openai/gpt-4o", "--json") == 0
    told = shown(capsys)
    assert [one["model"] for one in told["by_key_and_model"]] == ["openai/gpt-4o"]
    assert told["without_deployment"] == 1  # the deployment that is gone served that model too


def test_days_that_cannot_be_are_refused(command: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    assert command("--since", "2025-11-11", "--until", "2025-11-10") == 2
    assert "--since should be a day before --until" in capsys.readouterr().err
    assert command("--since", "yesterday") == 2
    assert command() == 2
