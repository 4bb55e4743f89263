"""Following a log through appends, rotations, copies and truncation."""

import os
import shutil
from datetime import UTC, datetime, timedelta

import pytest

from controller.errors import UsageError
from controller.usage import tail as tails
from controller.usage.tail import Tail


@pytest.fixture
def log(tmp_path):
    return tmp_path / "access.log"


@pytest.fixture
def read(log):
    """What is new since the last call; ``later``: so long after the last write."""
    marks = [""]

    def read(later=timedelta(0), since=None):
        portions = list(Tail(log).portions(marks[-1] if since is None else since, NOON + later))
        marks.extend(mark for _, mark in portions)
        return [line.decode() for lines, _ in portions for line in lines if line]

    return read


def add(path, text, age=0, mode="a"):
    """Written ``age`` seconds before noon."""
    with path.open(mode) as file:
        file.write(text)
    os.utime(path, (NOON.timestamp() - age,) * 2)


NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
LATER = timedelta(minutes=1)


def test_a_log_that_is_not_there_yet_has_nothing(read):
    assert read() == []


def test_only_what_is_new_is_read(log, read):
    add(log, "a\nb\n")
    assert read() == ["a", "b"]
    assert read() == []
    add(log, "c\n")
    assert read() == ["c"]


def test_an_unfinished_last_line_waits(log, read):
    add(log, "a\nb")
    assert read() == ["a"]
    assert read(LATER) == []
    add(log, "c\n")
    assert read() == ["bc"]


@pytest.mark.parametrize("rotated", ["access.log.1", "access.log-20261121", "access-2026-11-21T12-00-00.000.log"])
def test_a_renamed_log_is_read_to_its_end_before_the_new_one(log, read, rotated):
    add(log, "a\n")
    assert read() == ["a"]
    add(log, "b\n")
    log.rename(log.with_name(rotated))
    add(log, "c\n")
    assert read(LATER) == ["b", "c"]
    assert read(LATER) == []


def test_a_renamed_log_that_is_still_written_to_is_not_left_yet(log, read):
    add(log, "a\n")
    assert read() == ["a"]
    old = log.rename(log.with_name("access.log.1"))
    add(log, "c\n")
    add(old, "b")
    assert read() == []
    add(old, "b\n")
    assert read(LATER) == ["bb", "c"]


def test_the_unfinished_end_of_a_renamed_log_is_finished(log, read):
    add(log, "a\nb")
    assert read() == ["a"]
    log.rename(log.with_name("access.log.1"))
    add(log, "c\n")
    assert read(LATER) == ["b", "c"]


def test_several_rotations_between_two_rounds_lose_nothing(log, read):
    add(log, "a\n")
    assert read() == ["a"]
    add(log, "b\n", age=30)
    for age, name in ((20, "access.log.3"), (10, "access.log.2"), (0, "access.log.1")):
        log.rename(log.with_name(name))
        add(log, f"after {name}\n", age)
    assert read(LATER) == ["b", "after access.log.3", "after access.log.2", "after access.log.1"]


def test_a_log_that_is_copied_and_truncated_is_read_to_its_end(log, read):
    add(log, "a\n")
    assert read() == ["a"]
    add(log, "b\n")
    shutil.copy2(log, log.with_name("access.log.1"))
    add(log, "a much longer first line than before\n", mode="w")
    assert read(LATER) == ["b", "a much longer first line than before"]
    assert read(LATER) == []


def test_a_log_whose_old_file_is_packed_is_read_again_from_what_is_there(log, read):
    add(log, "a\n")
    assert read() == ["a"]
    log.rename(log.with_name("access.log.1.gz"))
    add(log, "b\n")
    assert read(LATER) == ["b"]


def test_a_new_log_that_got_the_inode_of_the_old_one_is_not_taken_for_it(log, read):
    add(log, "a\n")
    assert read() == ["a"]
    inode = log.stat().st_ino
    add(log, "bb\nc\n", mode="w")  # the same inode, and longer than what was read
    assert log.stat().st_ino == inode
    assert read() == ["bb", "c"]


def test_what_was_written_before_records_are_taken_is_not_read(log, read):
    add(log, "a\n")
    add(log.with_name("access.log.2"), "old\n", age=4 * 86_400)
    assert read(since="1:2:gone") == ["a"]


def test_neighbours_are_no_rotations(log, read):
    add(log, "a\n")
    for name in ("access.logs", "access.log.bak", "access-errors.log", "access2.log", "error.log"):
        add(log.with_name(name), "no\n")
    assert read() == ["a"]
    log.rename(log.with_name("access.log.1"))
    add(log, "b\n")
    assert read(LATER) == ["b"]


def test_a_log_is_read_in_portions_and_a_place_can_be_gone_back_to(log, read, monkeypatch):
    monkeypatch.setattr(tails, "CHUNK_BYTES", 8)
    add(log, "aaa\nbbb\nccc\nd\n")
    portions = list(Tail(log).portions("", NOON))
    assert [lines for lines, _ in portions] == [[b"aaa", b"bbb", b""], [b"ccc", b"d", b""]]
    assert read(since=portions[0][1]) == ["ccc", "d"]


def test_a_line_longer_than_a_portion_does_not_stop_the_reading(log, read, monkeypatch):
    monkeypatch.setattr(tails, "CHUNK_BYTES", 8)
    add(log, "x" * 20 + "\nb\n")
    assert read()[-1] == "b"


def test_a_mark_that_nobody_understands_is_a_beginning(log, read):
    add(log, "a\n")
    assert read(since="2026-11-21") == ["a"]


def test_a_log_that_cannot_be_read_is_told(log, read):
    log.mkdir()
    with pytest.raises(UsageError, match=r"cannot read .*access\.log: Is a directory; the next round tries again"):
        read()
