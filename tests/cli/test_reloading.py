"""A configuration that changes while the gateway serves: in one process with files that change, and as a command."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Callable, Sequence
from itertools import count
from pathlib import Path

import pytest

from tollway.cli import reloading
from tollway.cli.reloading import Reloading
from tollway.config import load
from tollway.config.changes import Changes, changes
from tollway.config.settings import Config
from tollway.errors import ConfigError

from .conftest import HANGS_S, STRONG, Start, ask, until

ENTRY = "  - model_name: {}\n    litellm_params: {{model: openai/gpt-4o}}\n"


def listing(*names: str, rest: str = "") -> str:
    return "model_list:\n" + "".join(ENTRY.format(name) for name in names) + rest


class Gateway:
    """Stands for the app: what is in force, and what was refused."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.refused: list[str] = []
        self.reloads = 0
        self.unable = False

    async def reload(self, config: Config) -> Changes:
        self.reloads += 1
        if self.unable:
            raise ConfigError(["config.yaml:2: cannot be bound"])
        before, self.config = self.config, config
        self.refused = []
        return changes(before, config)

    def refuse_config(self, problems: Sequence[str]) -> None:
        self.refused = list(problems)

    @property
    def models(self) -> list[str]:
        return [entry.model_name for entry in self.config.models]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(listing("old"))
    return path


@pytest.fixture
async def gateway(path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Gateway]:
    """It watches the file, at a quick pace."""
    for name, seconds in (("LOOK_S", 0.02), ("LOOK_AGAIN_S", 0.02), ("SETTLED_S", 0.06), ("SETTLED_S_MAX", 0.5)):
        monkeypatch.setattr(reloading, name, seconds)
    gateway = Gateway(await asyncio.to_thread(load, str(path), environ={}))
    reload = Reloading(gateway, lambda: load(str(path), environ={}))
    watching = asyncio.create_task(reload.watch())
    await becomes_true(lambda: reload._known and not reload._turn.locked())
    yield gateway
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)


async def becomes_true(true: Callable[[], object]) -> None:
    async with asyncio.timeout(HANGS_S):
        while not true():
            await asyncio.sleep(0.01)


async def becomes(gateway: Gateway, *models: str) -> None:
    try:
        await becomes_true(lambda: gateway.models == list(models))
    except TimeoutError:
        raise AssertionError(f"{gateway.models} in force, not {models}; refused: {gateway.refused}") from None


async def test_a_file_that_is_written_again_is_put_in_force_and_one_line_says_what_changed(
    gateway: Gateway, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    path.write_text(listing("new", "newer", rest="router_settings: {num_retries: 5}\n"))
    await becomes(gateway, "new", "newer")
    await becomes_true(lambda: caplog.messages)
    (said,) = caplog.messages
    assert said == (
        "the configuration was reloaded (files changed): models added: new, newer; models removed: old; "
        "settings changed: routing.retries"
    )


async def test_an_editor_that_puts_another_file_in_its_place_is_followed(gateway: Gateway, path: Path) -> None:
    for name in ("one", "two"):
        other = path.with_suffix(".tmp")
        other.write_text(listing(name))
        other.replace(path)
        await becomes(gateway, name)
    path.rename(path.with_suffix(".bak"))  # and one that lets it be away for a moment
    await asyncio.sleep(0.1)
    path.write_text(listing("three"))
    await becomes(gateway, "three")
    assert gateway.refused == []


async def test_links_of_a_config_map_are_followed(gateway: Gateway, path: Path, tmp_path: Path) -> None:
    for number in (1, 2, 3):
        folder = tmp_path / f"..version{number}"
        folder.mkdir()
        (folder / "config.yaml").write_text(listing(f"m{number}"))
        os.utime(folder / "config.yaml", (1, 1))  # as old as all others
        (tmp_path / "..data_tmp").symlink_to(folder.name)
        (tmp_path / "..data_tmp").replace(tmp_path / "..data")
        if number == 1:
            path.unlink()
            path.symlink_to("..data/config.yaml")
        await becomes(gateway, f"m{number}")


async def test_included_files_are_watched_also_those_that_come_later(gateway: Gateway, path: Path) -> None:
    more = path.with_name("more.yaml")
    more.write_text(listing("more"))
    path.write_text(listing("old", rest="include: [more.yaml]\n"))
    await becomes(gateway, "old", "more")
    await asyncio.sleep(0.1)
    more.write_text(listing("other"))
    await becomes(gateway, "old", "other")


async def test_a_file_that_is_still_being_written_is_not_read(
    gateway: Gateway, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, seconds in (("SETTLED_S", 1.0), ("SETTLED_S_MAX", 60.0)):  # a pause of this machine is no end
        monkeypatch.setattr(reloading, name, seconds)
    with path.open("w") as file:
        for name in "abcdef":
            file.write(listing("a") if name == "a" else ENTRY.format(name))
            file.flush()
            await asyncio.sleep(0.03)
            assert gateway.models == ["old"]
    await becomes(gateway, *"abcdef")
    assert gateway.reloads == 1


async def test_a_file_that_never_comes_to_rest_is_read_all_the_same(gateway: Gateway, path: Path) -> None:
    lines = count()
    async with asyncio.timeout(HANGS_S):
        while gateway.models != ["busy"]:
            path.write_text(listing("busy") + f"# {next(lines)}\n")
            await asyncio.sleep(0.02)


async def test_a_touched_file_that_says_the_same_changes_nothing(gateway: Gateway, path: Path) -> None:
    for _ in range(3):
        path.write_text(listing("old"))
        await asyncio.sleep(0.15)
    assert gateway.reloads == 0


async def test_a_bad_file_is_named_once_with_line_and_reason_and_a_mended_one_is_taken(
    gateway: Gateway, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    path.write_text(listing("new", rest="router_setings: {}\n"))
    await becomes_true(lambda: caplog.messages)
    await asyncio.sleep(0.4)
    assert gateway.models == ["old"]
    (problem,) = gateway.refused
    assert problem == f"{path}:4: router_setings is not known; did you mean router_settings?"
    assert caplog.messages == [
        f"the configuration was not reloaded, the one before stays in force (files changed): {problem}"
    ]
    path.write_text("model_list: [\n")  # another mistake, in YAML itself
    await becomes_true(lambda: len(caplog.messages) > 1)
    await asyncio.sleep(0.4)
    assert len(caplog.messages) == 2
    assert f"{path}:" in gateway.refused[0]
    path.write_text(listing("old"))  # as it was
    await becomes_true(lambda: not gateway.refused)
    path.write_text(listing("mended"))
    await becomes(gateway, "mended")


async def test_a_file_that_is_gone_or_cannot_be_bound_leaves_the_old_one_in_force(gateway: Gateway, path: Path) -> None:
    path.write_text("")
    await becomes_true(lambda: gateway.refused == [f"{path}: is empty"])
    path.unlink()
    await asyncio.sleep(0.8)
    assert gateway.models == ["old"]
    assert str(path) in gateway.refused[0]
    gateway.unable = True
    path.write_text(listing("unbound"))
    await becomes_true(lambda: gateway.refused == ["config.yaml:2: cannot be bound"])
    gateway.unable = False
    path.write_text(listing("bound"))
    await becomes(gateway, "bound")


async def test_what_only_a_start_takes_up_is_named(
    gateway: Gateway, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path.write_text(listing("old", rest="tollway: {journal_mb_max: 64, log_level: DEBUG, output_tokens_floor: 5}\n"))
    await becomes_true(lambda: gateway.config.money.output_tokens_floor == 5 and caplog.records)
    (warning,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert warning == "taken up by the next start only: logs.level, storage.journal_mb_max"


async def test_it_can_be_switched_off_and_sighup_still_reads(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reloading, "LOOK_S", 0.02)
    path.write_text(listing("old", rest="tollway: {watch_config: false}\n"))
    gateway = Gateway(await asyncio.to_thread(load, str(path), environ={}))
    both = Reloading(gateway, lambda: load(str(path), environ={}))
    watching = asyncio.create_task(both.watch())
    path.write_text(listing("new"))
    await asyncio.sleep(0.2)
    assert gateway.models == ["old"]
    assert await both.reload()
    assert gateway.models == ["new"]
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)


async def test_of_several_workers_one_speaks(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    for speaks in (True, False):
        gateway = Gateway(Config())
        assert await Reloading(gateway, lambda: load(str(path), environ={}), speaks=speaks).reload()
        assert gateway.models == ["old"]
    assert len(caplog.messages) == 1


# --- as a command --------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["1", "2"])
def test_every_worker_takes_a_changed_file_up_and_none_a_bad_one(
    start: Start, free_port: int, path: Path, workers: str
) -> None:
    running = start("--config", str(path), "--port", str(free_port), "--num_workers", workers)
    running.wait_for("curl ")

    def in_force() -> set[tuple[int, str]]:
        return {(about["index"], *about["models"]) for about in (ask(free_port) for _ in range(12))}

    path.write_text(listing("new"))
    said = running.wait_for("the configuration was reloaded (files changed): models added: new; models removed: old")
    assert said
    until(lambda: in_force() == {(index, "new") for index in range(int(workers))})
    path.write_text("model_lst: []\n")
    assert f"{path}:1: model_lst is not known" in running.wait_for("was not reloaded")
    assert {model for _, model in in_force()} == {"new"}
    other = path.with_suffix(".new")
    other.write_text(listing("newer"))
    other.replace(path)
    until(lambda: in_force() == {(index, "newer") for index in range(int(workers))})
    running.process.terminate()
    assert running.ends() == 0
    assert sum("was not reloaded" in line for line in running.rest()) == 1  # of several workers one speaks


@pytest.mark.slow
def test_a_master_key_that_became_too_weak_for_the_address_is_refused(start: Start, free_port: int, path: Path) -> None:
    path.write_text(listing("old", rest=f"general_settings: {{master_key: {STRONG}}}\n"))
    running = start("--config", str(path), "--host", "0.0.0.0", "--port", str(free_port))
    running.wait_for("curl ")
    path.write_text(listing("new", rest="general_settings: {master_key: sk-1234}\n"))
    assert "the master key is too easy to guess" in running.wait_for("was not reloaded")
    about = ask(free_port)
    assert (about["models"], about["master_key"]) == (["old"], STRONG)
