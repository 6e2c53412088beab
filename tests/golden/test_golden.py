"""Each pass on a small graph, as text: ``pass: NAME``, the input, a line ``---``, what must come out."""

from pathlib import Path

import pytest

from compiler.ir.text import parse_graph, print_graph
from compiler.ir.verify import verify
from compiler.passes import PASSES, Target
from neurochip.network.arithmetic import Arithmetic

FILES = sorted(Path(__file__).parent.glob("*.txt"))
BY_NAME = {each.name: each for each in PASSES}
TARGET = Target(arithmetic=Arithmetic(), weight_low=-128, weight_high=127)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_pass_writes_the_expected_graph(path, request):
    text = path.read_text(encoding="utf-8")
    given, _, expected = text.partition("---\n")
    header, _, graph_text = given.partition("\n")
    one = BY_NAME[header.removeprefix("pass: ")]
    found = print_graph(verify(one.run(verify(parse_graph(graph_text)), TARGET)))
    if request.config.getoption("--update-golden"):
        path.write_text(f"{given}---\n{found}", encoding="utf-8")
    else:
        assert found == expected


def test_every_pass_has_a_golden_file():
    named = {path.read_text(encoding="utf-8").partition("\n")[0].removeprefix("pass: ") for path in FILES}
    assert named == set(BY_NAME)
