"""Fixtures of several test modules."""

from __future__ import annotations

import pytest

from neurochip.program.file import save_program
from tests.hand_programs import image_network, naive_program


@pytest.fixture(scope="module")
def program():
    return naive_program(image_network())


@pytest.fixture(scope="module")
def saved(program, tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "image.ncp"
    save_program(program, path)
    return path
