"""Damaged tensors and arguments: an importer refuses them in words or reads them, and never crashes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.importers import FAMILIES, find_family
from compiler.importers.options import Options, input_range
from compiler.ir.survey import survey
from neurochip.errors import CheckpointError, NeurochipError
from tests.unit.test_importer_spikformer import LAYERS, tensors

VALUES = (None, 0, -1, 3, 7, 2.5, "x", "4", [1, 2, 3], (3, 224, 224), True, {}, 10**9, float("nan"), "9" * 5000)
ARGUMENTS = ("T", "num_heads", "img_size", "patch_size", "tau", "v_reset", "mean", "std", "input_low")
ARCHS = (None, "spikformer", *(family.name for family in FAMILIES))


@st.composite
def damaged(draw):
    """(tensors, arguments, architecture) with up to three faults."""
    arrays = tensors(draw(st.sampled_from(sorted(LAYERS))), depth=1)
    arguments = {"num_heads": 4}
    for _ in range(draw(st.integers(1, 3))):
        key, kind = draw(st.sampled_from(sorted(arrays))), draw(st.integers(0, 5))
        if kind == 0:
            del arrays[key]
        elif kind == 1:
            arrays[key + draw(st.sampled_from([".x", "1", ".0.weight"]))] = arrays.pop(key)
        elif kind == 2:
            arrays[key] = np.ones(draw(st.lists(st.sampled_from([0, 1, 2, 16, 64]), max_size=4)), np.float32)
        elif kind == 3:
            value = draw(st.sampled_from([np.nan, np.inf, 1e38, -1e38, 0]))
            arrays[key] = np.full(arrays[key].shape, value, draw(st.sampled_from(["f4", "f8", "i4", "c8"])))
        elif kind == 4:
            number = draw(st.sampled_from(["7", "99", "123456", "9" * 5000, "٣"]))
            arrays[".".join(number if part.isdigit() else part for part in key.split("."))] = arrays[key]
        else:
            arguments[draw(st.sampled_from(ARGUMENTS))] = draw(st.sampled_from(VALUES))
    return arrays, arguments, draw(st.sampled_from(ARCHS))


@settings(deadline=None, max_examples=150)
@given(damaged())
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_damage_is_refused_or_read(case):
    arrays, arguments, arch = case
    try:
        family = find_family(arrays, arch)
        graph = family.build(arrays, Options(family.options, input_range(arguments) | arguments))
    except NeurochipError:
        return
    survey(graph)


def test_sizes_beyond_belief_are_refused():
    family = find_family(tensors())
    with pytest.raises(CheckpointError, match="setting 'T' from the file's arguments: 1000000000 is more than 1000000"):
        Options(family.options, {"T": 10**9})
