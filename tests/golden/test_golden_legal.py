"""Each legalisation on a small network (``tests/legal_networks.py``), as text: before, a line ``---``, after."""

from pathlib import Path

import pytest

from compiler.legal import LEGAL
from neurochip.network.text import print_network
from neurochip.network.validate import validate_network
from tests.attention_networks import ATTENTION_CASES
from tests.crossbar_networks import CROSSBAR_CASES
from tests.legal_networks import CASES as OTHER_CASES
from tests.mode_networks import MODE_CASES

CASES = {**OTHER_CASES, **CROSSBAR_CASES, **ATTENTION_CASES, **MODE_CASES}
FOLDER = Path(__file__).parent / "legal"
BY_NAME = {each.name: each for each in LEGAL}


def pass_of(name: str) -> str:
    """``PASS`` or ``PASS+CASE``."""
    return name.partition("+")[0]


@pytest.mark.parametrize("name", CASES)
def test_legalisation_writes_the_expected_network(name, request):
    network, chip, choices = CASES[name]()
    after = BY_NAME[pass_of(name)].run(network, chip, choices)
    validate_network(after, timed=False)
    found = f"{print_network(network, values=True)}\n---\n{print_network(after, values=True)}\n"
    path = FOLDER / f"{name}.txt"
    if request.config.getoption("--update-golden"):
        path.write_text(found, encoding="utf-8")
    assert found == path.read_text(encoding="utf-8")


def test_every_legalisation_has_a_golden_case():
    assert {pass_of(name) for name in CASES} == set(BY_NAME)
    assert {path.stem for path in FOLDER.glob("*.txt")} == set(CASES)
