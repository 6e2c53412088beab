"""A program that cannot be saved is an error that names why, and what was there before stays whole."""

from __future__ import annotations

import errno
import io
import os
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import pytest

import neurochip.atomic
import neurochip.program.file
from neurochip.errors import ProgramError
from neurochip.program.file import load_program, save_program
from tests.hand_programs import naive_program, spike_network

ROOT = Path(__file__).parents[2]


def test_a_failing_disk_is_named(saved, monkeypatch):
    def fail(self):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(neurochip.program.file.Archive, "verify", fail)
    with pytest.raises(ProgramError, match="cannot read the program: input/output error"):
        load_program(saved)


# Writing


class FullDisk(io.FileIO):
    """A file on a disk with room for ``room`` more bytes."""

    room = 0

    def write(self, data):
        if self.tell() + len(data) > self.room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().write(data)


@pytest.mark.parametrize("room", [0, 10, 5_000, 20_000, 28_000])
def test_a_full_disk_leaves_the_old_file_whole(program, tmp_path, monkeypatch, room):
    path = tmp_path / "p.ncp"
    path.write_bytes(b"old")
    monkeypatch.setattr(FullDisk, "room", room)
    monkeypatch.setattr(neurochip.atomic, "open", FullDisk, raising=False)
    with pytest.raises(ProgramError) as caught:
        save_program(program, path)
    assert str(caught.value).startswith(f"{path}: cannot write the program: no space left on device")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["p.ncp"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failing_last_step_leaves_the_old_file_whole(program, tmp_path, monkeypatch, step):
    path = tmp_path / "p.ncp"
    path.write_bytes(b"old")

    def fail(*_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(neurochip.atomic.os, step, fail)
    with pytest.raises(ProgramError, match="input/output error"):
        save_program(program, path)
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["p.ncp"]


def test_an_interrupt_leaves_no_temporary_file(program, tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(neurochip.atomic.os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        save_program(program, tmp_path / "p.ncp")
    assert list(tmp_path.iterdir()) == []


def test_a_killed_process_leaves_the_old_file_whole(program, tmp_path):
    path = tmp_path / "p.ncp"
    save_program(naive_program(spike_network()), path)
    before = path.read_bytes()
    code = textwrap.dedent(
        """
        import os, signal, sys
        from tests.hand_programs import *
        from neurochip.program.file import save_program
        os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)
        save_program(naive_program(image_network()), sys.argv[1])
        """
    )
    child = subprocess.run([sys.executable, "-c", code, str(path)], cwd=ROOT, check=False)
    assert child.returncode == -signal.SIGKILL
    assert path.read_bytes() == before
    load_program(path)


def test_a_folder_without_write_permission_is_named(program, tmp_path, monkeypatch):
    def refuse(path, mode):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(neurochip.atomic, "open", refuse, raising=False)  # the superuser may write anywhere
    with pytest.raises(ProgramError, match="cannot write the program: permission denied"):
        save_program(program, tmp_path / "p.ncp")


@pytest.mark.parametrize(
    ("place", "words"),
    [("none/p.ncp", "no such file or directory"), (".", "is a folder"), ("x" * 300 + ".ncp", "file name too long")],
)
def test_an_impossible_place_is_named(program, tmp_path, place, words):
    with pytest.raises(ProgramError) as caught:
        save_program(program, tmp_path / place)
    assert words in str(caught.value)
    assert "-o" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_device_is_not_replaced(program):
    with pytest.raises(ProgramError, match="not a regular file"):
        save_program(program, os.devnull)


def test_a_link_keeps_pointing_where_it_does(program, tmp_path, saved):
    (tmp_path / "real").mkdir()
    link = tmp_path / "link.ncp"
    link.symlink_to(tmp_path / "real" / "p.ncp")
    save_program(program, link)
    assert link.is_symlink()
    assert (tmp_path / "real" / "p.ncp").read_bytes() == saved.read_bytes()


def test_a_value_json_cannot_hold_is_named(program, tmp_path):
    odd = replace(program, origin=replace(program.origin, model="\ud800"))
    with pytest.raises(ProgramError, match="cannot be saved"):
        save_program(odd, tmp_path / "p.ncp")
