"""The gateway dies at the worst moments: what a client has seen the end of is charged exactly once."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections import Counter
from hashlib import sha256
from pathlib import Path
from random import Random

import pytest

from tollway.ledger import ledger as ledgers
from tollway.storage import open_storage
from tollway.testing.gateway import SmallGateway

pytestmark = pytest.mark.slow

GATEWAY = Path(__file__).with_name("dying_gateway.py")
KEY = "sk-of-the-dying-gateway"
CLIENTS = 8
CALLS_MAX = 60  # of each client
START_S_MAX = 60.0
CALL_NANO = 1_000_000

STEPS = [
    f"{when} {what}"
    for what in (
        "the journal's write",
        "all that left in a turn",
        "the storage's transaction",
        "old segments go",
        "an answer",
        "a stream's end",
    )
    for when in ("before", "after")
]


async def one_client(port: int, number: int, started: list[str], ended: list[str]) -> None:
    """Calls one after the other, every second one streamed, until the gateway is gone. Every call has a name of its own, but
    the provider's ids are all the same."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for call in range(CALLS_MAX):
            name = f"{number}.{call}"
            stream = "true" if call % 2 else "false"
            body = f'{{"model":"small","user":"{name}","stream":{stream},"messages":[{{"role":"user","content":"x"}}]}}'
            head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\n"
            writer.write(f"{head}content-length: {len(body)}\r\n\r\n{body}".encode())
            started.append(name)
            answer = await reader.readuntil(b"\r\n\r\n")
            assert answer.startswith(b"HTTP/1.1 200"), answer
            if b"chunked" in answer:
                await reader.readuntil(b"data: [DONE]\n\n")
                ended.append(name)  # the client has its end, whatever comes of the frame around it
                await reader.readuntil(b"0\r\n\r\n")
            else:
                length = int(answer.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                await reader.readexactly(length)
                ended.append(name)
    except (ConnectionError, asyncio.IncompleteReadError):
        return
    finally:
        writer.close()


async def run_until_death(
    folder: Path, step: str, times: int, kill_after_s: float | None = None
) -> tuple[list[str], list[str]]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(GATEWAY), str(folder), step, str(times), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    async with asyncio.timeout(START_S_MAX):
        port = int(await process.stdout.readline())
    started: list[str] = []
    ended: list[str] = []
    clients = [asyncio.create_task(one_client(port, number, started, ended)) for number in range(CLIENTS)]
    if kill_after_s is not None:
        await asyncio.sleep(kill_after_s)
        process.kill()
    await asyncio.wait(clients, timeout=START_S_MAX)
    if process.returncode is None:
        with contextlib.suppress(TimeoutError):  # a step of the drain is reached a little later
            await asyncio.wait_for(process.wait(), 30)
        if process.returncode is None:
            process.kill()
    await process.wait()
    for client in clients:
        client.result()
    assert process.returncode == (9 if kill_after_s is None else -9), "it did not die where it was told to"
    process._transport.close()  # type: ignore[attr-defined]  # its pipes, which are closed late otherwise
    return started, ended


async def assert_charged_once(folder: Path, started: list[str], ended: list[str]) -> None:
    for _ in range(2):  # a second start finds nothing more to do
        async with SmallGateway(folder, storage=await open_storage(folder / "tollway.db")) as gateway:
            records = await gateway.records()
            (key,) = await gateway.storage.keys.load_all()
        names = Counter(record.end_user for record in records)
        assert max(names.values(), default=1) == 1
        assert set(ended) <= set(names) <= set(started)
        assert key.token == sha256(KEY.encode()).digest()
        assert key.spend_nano == sum(record.cost.total for record in records) == len(records) * CALL_NANO
        assert not list((folder / "journal").glob("*.log"))


@pytest.mark.pure
@pytest.mark.parametrize("step", STEPS)
async def test_a_gateway_that_dies_between_two_writes_loses_and_doubles_nothing(
    tmp_path: Path, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledgers, "DRAIN_S", 0.01)
    often = "journal" in step or "answer" in step or "stream" in step
    started, ended = await run_until_death(tmp_path, step, Random(step).randrange(20, 120) if often else 1)
    assert started
    await assert_charged_once(tmp_path, started, ended)


@pytest.mark.parametrize("seed", range(3))
async def test_a_gateway_that_is_killed_at_any_moment_loses_and_doubles_nothing(tmp_path: Path, seed: int) -> None:
    started, ended = await run_until_death(tmp_path, "never", 0, kill_after_s=Random(seed).uniform(0.02, 0.3))
    await assert_charged_once(tmp_path, started, ended)
