from __future__ import annotations

from pathlib import Path

import pytest

from tollway.storage import owners
from tollway.storage.owners import NOTE_BYTES, Owners


async def settled(*them: Owners) -> None:
    for each in them:
        await each.close()


async def test_what_is_noted_is_known_at_once_and_what_is_not_is_nobodys(tmp_path: Path) -> None:
    mine = Owners(tmp_path / "owned.notes")
    await mine.refresh()
    mine.note(["file-1", "file-2"], "key:a")
    assert mine.owner_is("file-1", "key:a") is True
    assert mine.owner_is("file-2", "key:b") is False
    assert mine.owner_is("file-3", "key:a") is None
    await settled(mine)


async def test_other_workers_and_a_later_start_know_it_too(tmp_path: Path) -> None:
    one, other = Owners(tmp_path / "owned.notes"), Owners(tmp_path / "owned.notes", turns_over=False)
    one.note(["file-1"], "key:a")
    other.note(["file-2"], "team:t")
    await settled(one, other)
    await one.refresh()
    await other.refresh()
    assert one.owner_is("file-2", "team:t")
    assert other.owner_is("file-1", "key:a")
    later = Owners(tmp_path / "owned.notes")
    await later.refresh()
    assert later.owner_is("file-1", "key:a")
    assert later.owner_is("file-2", "team:t")


async def test_neither_ids_nor_owners_can_be_read_in_the_file(tmp_path: Path) -> None:
    mine = Owners(tmp_path / "owned.notes")
    mine.note(["file-1"], "key:a")
    mine.note(["file-1"], "key:a")  # known already
    await settled(mine)
    assert len((tmp_path / "owned.notes").read_bytes()) == NOTE_BYTES
    assert (tmp_path / "owned.notes").stat().st_mode & 0o077 == 0


async def test_the_oldest_are_forgotten_and_the_file_stays_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owners, "NOTES_MAX", 20)
    monkeypatch.setattr(owners, "FILE_BYTES_MAX", 10 * NOTE_BYTES)
    mine = Owners(tmp_path / "owned.notes")
    follower = Owners(tmp_path / "owned.notes", turns_over=False)
    for number in range(95):
        mine.note([f"file-{number}"], "key:a")
        await settled(mine)
        await follower.refresh()
    sizes = {path.name: path.stat().st_size for path in tmp_path.iterdir()}
    assert sizes == {"owned.notes": 5 * NOTE_BYTES, "owned.notes.1": 10 * NOTE_BYTES}
    for known in (mine, follower):
        assert known.owner_is("file-94", "key:a")
        assert known.owner_is("file-80", "key:a")
        assert known.owner_is("file-60", "key:a") is None
    later = Owners(tmp_path / "owned.notes")
    await later.refresh()
    assert later.owner_is("file-80", "key:a")
    assert later.owner_is("file-79", "key:a") is None


async def test_a_torn_note_is_waited_for(tmp_path: Path) -> None:
    mine = Owners(tmp_path / "owned.notes")
    mine.note(["file-1", "file-2"], "key:a")
    await settled(mine)
    whole = (tmp_path / "owned.notes").read_bytes()
    (tmp_path / "owned.notes").write_bytes(whole[:-5])
    other = Owners(tmp_path / "owned.notes")
    await other.refresh()
    assert (other.owner_is("file-1", "key:a"), other.owner_is("file-2", "key:a")) == (True, None)
    (tmp_path / "owned.notes").write_bytes(whole)
    await other.refresh()
    assert other.owner_is("file-2", "key:a")


async def test_a_folder_that_cannot_be_written_keeps_nobody_from_working(tmp_path: Path) -> None:
    mine = Owners(tmp_path / "none" / "owned.notes")
    mine.note(["file-1"], "key:a")
    await settled(mine)
    await mine.refresh()
    assert mine.owner_is("file-1", "key:a")
