from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tollway.ledger import journal as journals
from tollway.ledger.journal import FRAME, Journal, forget, left_behind, read

PAYLOADS = [b"", b"one", b"x" * 1000, bytes(range(256))]


def written(directory: Path, payloads: list[bytes] = PAYLOADS) -> Path:
    journal = Journal(directory, 7, fsync="never")
    journal.open()
    for payload in payloads:
        journal.append(payload)
    journal.close(drained=False)
    return directory / "7-0.log"


def test_records_are_read_as_they_were_written(tmp_path: Path) -> None:
    assert list(read(written(tmp_path))) == PAYLOADS


def test_a_file_cut_at_any_byte_gives_the_whole_frames_before_the_cut_and_no_damage(tmp_path: Path) -> None:
    path = written(tmp_path)
    whole = path.read_bytes()
    ends = [0]
    for payload in PAYLOADS:
        ends.append(ends[-1] + FRAME.size + len(payload))
    damage: list[int] = []
    for cut in range(len(whole) + 1):
        path.write_bytes(whole[:cut])
        assert list(read(path, damage.append)) == PAYLOADS[: sum(end <= cut for end in ends) - 1]
    assert damage == []


@pytest.mark.parametrize("place", range(len(PAYLOADS)))
def test_a_frame_with_changed_bytes_is_passed_over_and_told(tmp_path: Path, place: int) -> None:
    path = written(tmp_path)
    whole = bytearray(path.read_bytes())
    start = sum(FRAME.size + len(payload) for payload in PAYLOADS[:place])
    whole[start + 4 if not PAYLOADS[place] else start + FRAME.size] ^= 1
    path.write_bytes(whole)
    damage: list[int] = []
    assert list(read(path, damage.append)) == PAYLOADS[:place] + PAYLOADS[place + 1 :]
    assert damage == [start]


def test_an_impossible_length_ends_the_reading_and_is_told(tmp_path: Path) -> None:
    path = written(tmp_path, [b"one"])
    path.write_bytes(path.read_bytes() + b"\xff" * 20)
    damage: list[int] = []
    assert list(read(path, damage.append)) == [b"one"]
    assert damage == [FRAME.size + 3]


class FullDisk:
    """`os.write` for a disk that takes `free` more bytes."""

    def __init__(self, free: int, *, error: bool) -> None:
        self.free = free
        self.error = error
        self.write = os.write

    def __call__(self, fd: int, data: bytes) -> int:
        if len(data) > self.free and self.error:
            raise OSError(28, "No space left on device")
        count = self.write(fd, data[: self.free])
        self.free -= count
        return count


@pytest.mark.parametrize("free", [0, 5, FRAME.size, FRAME.size + 3])
@pytest.mark.parametrize("error", [False, True], ids=["short write", "error"])
def test_a_full_disk_leaves_no_half_frame_and_what_comes_after_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, error: bool
) -> None:
    journal = Journal(tmp_path, 7, fsync="never")
    journal.open()
    journal.append(b"before")
    disk = FullDisk(free, error=error)
    monkeypatch.setattr(os, "write", disk)
    with pytest.raises(OSError, match=r"No space|disk is full"):
        journal.append(b"refused")
    monkeypatch.undo()
    journal.append(b"after")
    journal.close(drained=False)
    damage: list[int] = []
    assert list(read(tmp_path / "7-0.log", damage.append)) == [b"before", b"after"]
    assert damage == []


def refuse(*_: object) -> int:
    raise OSError(5, "Input/output error")


def test_what_could_not_be_cut_off_at_once_is_cut_off_before_the_next_frame(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(tmp_path, 7, fsync="never")
    journal.open()
    monkeypatch.setattr(os, "write", FullDisk(5, error=False))
    monkeypatch.setattr(os, "ftruncate", refuse)
    for payload in (b"refused", b"refused again"):
        with pytest.raises(OSError, match="Input/output error"):
            journal.append(payload)
    monkeypatch.undo()
    journal.append(b"after")
    journal.close(drained=False)
    assert list(read(tmp_path / "7-0.log")) == [b"after"]


def test_a_real_full_disk_is_an_error_and_leaves_whole_frames(tmp_path: Path) -> None:
    script = """
        import resource, signal, sys
        from pathlib import Path
        from tollway.ledger.journal import Journal
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        journal = Journal(Path(sys.argv[1]), 7, fsync="never")
        journal.open()
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
        for number in range(100):
            try:
                journal.append(b"%099d" % number)
            except OSError as error:
                print(number, type(error).__name__)
                break
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        journal.append(b"after")
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), str(tmp_path)], capture_output=True, text=True, timeout=120
    )
    assert done.stdout == "9 OSError\n", done.stderr
    assert [*read(tmp_path / "7-0.log")] == [*(b"%099d" % number for number in range(9)), b"after"]


def test_segments_rotate_and_are_dropped_up_to_the_one_that_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journals, "SEGMENT_BYTES_MAX", 100)
    journal = Journal(tmp_path, 7, fsync="interval")
    journal.open()
    assert [journal.append(b"x" * 60) for _ in range(5)] == [0, 0, 1, 1, 2]
    put = journal.sync()
    assert put is not None
    put()
    assert journal.sync() is None
    journal.drop_before(2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["7-2.log", "7.lock"]
    journal.close(drained=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.pure
def test_a_segment_that_cannot_be_opened_does_not_lose_the_record_or_the_file_in_hand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journals, "SEGMENT_BYTES_MAX", 100)
    journal = Journal(tmp_path, 7, fsync="never")
    journal.open()

    def refuse(segment: int) -> int:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(journal, "_open_segment", refuse)
    assert [journal.append(b"x" * 60) for _ in range(4)] == [0, 0, 0, 0]
    monkeypatch.undo()
    monkeypatch.setattr(journals, "SEGMENT_BYTES_MAX", 100)
    assert [journal.append(b"x" * 60) for _ in range(2)] == [0, 1]
    journal.close(drained=False)
    assert len(list(read(tmp_path / "7-0.log"))) == 5


def test_the_journals_of_the_dead_are_found_and_those_of_the_living_are_not(tmp_path: Path) -> None:
    living = Journal(tmp_path, 9, fsync="never")
    living.open()
    living.append(b"mine")
    written(tmp_path)
    ((epoch, segments, lock),) = left_behind(tmp_path)
    assert (epoch, [path.name for path in segments]) == (7, ["7-0.log"])
    # Whoever takes it over holds it: nobody else does so at the same time.
    assert list(left_behind(tmp_path)) == []
    forget(tmp_path, epoch, segments, lock)
    os.close(lock)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["9-0.log", "9.lock"]
    living.close(drained=False)


def test_a_journal_whose_lock_was_deleted_is_taken_over_all_the_same(tmp_path: Path) -> None:
    written(tmp_path)
    (tmp_path / "7.lock").unlink()
    ((epoch, segments, lock),) = left_behind(tmp_path)
    assert (epoch, len(segments)) == (7, 1)
    os.close(lock)


def test_a_folder_that_is_not_there_holds_nobodys_journal(tmp_path: Path) -> None:
    assert list(left_behind(tmp_path / "none")) == []


def test_the_journal_is_readable_by_its_owner_alone(tmp_path: Path) -> None:
    path = written(tmp_path / "journal")
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
