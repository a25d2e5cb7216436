from __future__ import annotations

import os
from pathlib import Path

import pytest

from tollway.storage import bodies as module
from tollway.storage.bodies import Bodies, read_bodies

EPOCH = 77


def opened(folder: Path, *, mb_max: int = 64, days_max: int = 30) -> Bodies:
    bodies = Bodies(folder, EPOCH, mb_max=mb_max, days_max=days_max)
    bodies.open()
    return bodies


def test_bodies_come_back_whole_however_long_they_are(tmp_path: Path) -> None:
    bodies = opened(tmp_path)
    long_request, long_reply = os.urandom(300_000), b"data: x\n\n" * 50_000
    first = bodies.put(1, b'{"model": "a"}', b"{}")
    second = bodies.put(2, long_request, long_reply)
    bodies.close()

    assert first is not None
    assert second is not None
    assert read_bodies(tmp_path, EPOCH, first[0], first[1], 1) == (b'{"model": "a"}', b"{}")
    assert read_bodies(tmp_path, EPOCH, second[0], second[1], 2) == (long_request, long_reply)


def test_another_calls_place_gives_nothing(tmp_path: Path) -> None:
    bodies = opened(tmp_path)
    place = bodies.put(1, b"a", b"b")
    bodies.close()

    assert place is not None
    assert read_bodies(tmp_path, EPOCH, place[0], place[1], 2) is None
    assert read_bodies(tmp_path, EPOCH, place[0], place[1] + 1, 1) is None
    assert read_bodies(tmp_path, EPOCH, 9, 0, 1) is None


def test_the_oldest_segments_go_first_when_the_folder_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SEGMENT_BYTES_MAX", 1 << 18)
    bodies = opened(tmp_path, mb_max=1)
    places = [bodies.put(n, os.urandom(100_000), b"") for n in range(40)]
    bodies.close()

    total = sum(path.stat().st_size for path in tmp_path.glob("*.bin"))
    assert total <= 1 << 20
    last = places[-1]
    assert last is not None
    assert read_bodies(tmp_path, EPOCH, last[0], last[1], 39) is not None
    first = places[0]
    assert first is not None
    assert read_bodies(tmp_path, EPOCH, first[0], first[1], 0) is None


def test_segments_older_than_their_days_go(tmp_path: Path) -> None:
    old = tmp_path / "1-0.bin"
    old.write_bytes(b"x")
    os.utime(old, (1, 1))
    bodies = opened(tmp_path, days_max=1)
    bodies.put(1, b"a", b"b")
    bodies.close()

    assert not old.exists()


def test_what_the_writer_cannot_keep_up_with_is_left_out_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WAITING_BYTES_MAX", 1000)
    bodies = Bodies(tmp_path, EPOCH, mb_max=64, days_max=30)  # not opened: nobody writes

    assert bodies.put(1, b"a" * 2000, b"") is not None
    assert bodies.put(2, b"b", b"") is None
    assert bodies.left_out == 1


def test_bodies_are_readable_by_their_owner_alone(tmp_path: Path) -> None:
    folder = tmp_path / "bodies"
    opened(folder).close()

    assert folder.stat().st_mode & 0o777 == 0o700
