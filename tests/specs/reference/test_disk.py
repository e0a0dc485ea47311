"""The folder of references stays within its bound, and nothing that happens to it ends a run."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from specs.reference import disk

BOUND = 2**20
SIZE = 3 * 4096


@pytest.fixture(autouse=True)
def small_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk, "MOST_BYTES", BOUND)
    monkeypatch.setattr(disk, "_allowances", {})


def key(number: int) -> str:
    return f"{number:064x}"


def total(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir())


def in_a_new_process() -> None:
    disk._allowances.clear()


def age(file: Path, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(file, (then, then))


# The bound ------------------------------------------------------------------------------------------------------------


def test_the_folder_never_outgrows_its_bound(tmp_path: Path) -> None:
    for number in range(200):
        disk.write(tmp_path, key(number), bytes([number]) * SIZE)
        assert total(tmp_path) <= BOUND
    assert total(tmp_path) > BOUND / 2
    assert disk.read(tmp_path, key(199)) == bytes([199]) * SIZE
    assert disk.read(tmp_path, key(0)) is None


def test_many_small_files_count_as_what_a_file_system_allots(tmp_path: Path) -> None:
    for number in range(400):
        disk.write(tmp_path, key(number), b"small")
    assert len(list(tmp_path.iterdir())) * 4096 <= BOUND


def test_what_was_not_read_for_longest_is_removed_first(tmp_path: Path) -> None:
    for number in range(70):
        disk.write(tmp_path, key(number), b"x" * SIZE)
        age(tmp_path / f"{key(number)}.npz", 1000 - number)
    assert disk.read(tmp_path, key(20)) is not None
    for number in range(100, 140):
        disk.write(tmp_path, key(number), b"x" * SIZE)
    left = {number for number in range(140) if (tmp_path / f"{key(number)}.npz").exists()}
    assert 20 in left
    old = left & set(range(70)) - {20}
    assert old == set(range(70 - len(old), 70))
    assert set(range(100, 140)) <= left


def test_a_folder_is_not_listed_for_each_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed: list[Path] = []
    tidy = disk.tidy
    monkeypatch.setattr(disk, "tidy", lambda folder: (listed.append(folder), tidy(folder)))
    for number in range(60):
        disk.write(tmp_path, key(number), b"x" * 100)
    assert 1 <= len(listed) <= 60 * 4096 // (BOUND // 4 // disk.PROCESSES) + 1
    monkeypatch.setattr(disk, "MOST_BYTES", 256 * 2**20)
    listed.clear()
    in_a_new_process()
    for number in range(60):
        disk.write(tmp_path, key(number), b"x" * 100)
    assert len(listed) == 1


def test_a_file_that_would_push_out_many_is_not_stored(tmp_path: Path) -> None:
    disk.write(tmp_path, key(0), b"x" * (disk.largest() + 1))
    assert not list(tmp_path.iterdir())
    (tmp_path / f"{key(0)}.npz").write_bytes(b"x" * (disk.largest() + 1))
    assert disk.read(tmp_path, key(0)) is None


WRITER = """
import sys
from pathlib import Path
from specs.reference import disk
disk.MOST_BYTES = {bound}
folder, seed = Path(sys.argv[1]), int(sys.argv[2])
for i in range(150):
    key, content = f"{{(i * seed) % 120:064x}}", bytes([(i * seed) % 120]) * {size}
    assert disk.read(folder, key) in (None, content)
    disk.write(folder, key, content)
"""


def test_processes_that_write_at_once_do_each_other_no_harm(tmp_path: Path) -> None:
    program = WRITER.format(bound=BOUND, size=SIZE)
    writers = [
        subprocess.Popen([sys.executable, "-c", program, str(tmp_path), str(seed)], stderr=subprocess.PIPE, text=True)
        for seed in (1, 7, 11, 13)
    ]
    assert [(writer.communicate()[1], writer.returncode) for writer in writers] == [("", 0)] * 4
    assert BOUND / 2 < total(tmp_path) <= BOUND
    assert {file.suffix for file in tmp_path.iterdir()} == {".npz"}
    for file in tmp_path.iterdir():
        assert file.read_bytes() == bytes([int(file.stem, 16)]) * SIZE


# What is left, and what goes wrong ------------------------------------------------------------------------------------


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    left, recent, older_version, foreign = (
        tmp_path / name for name in (f"{key(1)}.0a1b", f"{key(2)}.0a1b", key(3), "notes.txt")
    )
    for file in (left, recent, older_version, foreign):
        file.write_bytes(b"x")
        age(file, 0 if file == recent else 10**6)
    disk.write(tmp_path, key(4), b"content")
    assert set(tmp_path.iterdir()) == {recent, foreign, tmp_path / f"{key(4)}.npz"}


def test_a_write_that_fails_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / f"{key(1)}.npz").mkdir()
    disk.write(tmp_path, key(1), b"content")
    assert [file.name for file in tmp_path.iterdir()] == [f"{key(1)}.npz"]
    assert disk.read(tmp_path, key(1)) is None
    disk.remove(tmp_path, key(1))


def test_a_folder_that_vanishes_costs_nothing_but_time(tmp_path: Path) -> None:
    folder = tmp_path / "references"
    folder.mkdir()
    disk.write(folder, key(1), b"content")
    shutil.rmtree(folder)
    disk.write(folder, key(1), b"content")
    disk.remove(folder, key(1))
    assert disk.read(folder, key(1)) is None


def test_a_folder_that_cannot_be_written_is_still_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    disk.write(tmp_path, key(1), b"content")
    for owner, name in ((os, "utime"), (os, "unlink"), (Path, "write_bytes"), (Path, "unlink")):
        monkeypatch.setattr(owner, name, lambda *_, **__: refuse())
    disk.write(tmp_path, key(2), b"content")
    disk.remove(tmp_path, key(1))
    assert disk.read(tmp_path, key(1)) == b"content"


def test_a_pipe_in_place_of_a_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / f"{key(1)}.npz")
    assert disk.read(tmp_path, key(1)) is None
    disk.write(tmp_path, key(1), b"content")
    assert disk.read(tmp_path, key(1)) == b"content"
