"""Weights on rows of one sign, and weights as mantissa and exponent: nothing that is computed changes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.legal import Choices
from compiler.legal.fan_in import needs, together
from compiler.legal.fit_weights import FitWeights
from compiler.legal.signed_rows import SignedRows
from compiler.legal.split_fan_in import SplitFanIn
from compiler.lower.balance import balance
from compiler.mapping.check import check_program
from compiler.mapping.map import map_network
from neurochip.errors import ProgramError, UnsupportedError
from neurochip.network.projections import Bias, Dense, Product
from neurochip.network.validate import validate_network
from tests.legal_networks import layers
from tests.property.test_simulator import ORIGIN
from tests.property.test_split_fan_in import RULES, WIDE, dense, equal
from tests.small_chips import small_chip
from tests.strategies import random_network
from tests.unit.test_balance import unbalanced

SEEDS = st.integers(0, 10_000)
EIGHT = Choices(weight_bits=8)


@settings(max_examples=30, deadline=None)
@given(SEEDS)
def test_rows_of_one_sign_keep_every_spike(seed: int) -> None:
    network, x = random_network(seed)
    plain = unbalanced(network)
    after = SignedRows().run(plain, small_chip(signed_rows=True), EIGHT)
    validate_network(after, timed=False)
    for p in after.projections:
        types = [p.types] if isinstance(p, Bias) else [s.types for s in p.sources if not isinstance(p, Product)]
        assert all(types)
    equal(plain, after, x)


@settings(max_examples=10, deadline=None)
@given(SEEDS)
def test_rows_of_one_sign_map_and_check(seed: int) -> None:
    network, _ = dense(seed)
    chip = small_chip(signed_rows=True, arithmetic=RULES)
    program = map_network(balance(SignedRows().run(network, chip, EIGHT), 7), chip, ORIGIN, ())
    check_program(program, arithmetic=False)
    mixed = map_network(balance(network, 7), chip, ORIGIN, ())
    assert program.use["input_axons"].sum() > mixed.use["input_axons"].sum()
    with pytest.raises(ProgramError, match="0 excites, 1 inhibits"):
        check_program(mixed, arithmetic=False)


@settings(max_examples=15, deadline=None)
@given(SEEDS)
def test_split_sums_on_rows_of_one_sign_fit_the_core(seed: int) -> None:
    network, x = dense(seed)
    chip = small_chip(input_axons=24, arithmetic=RULES, weight_sharing=False, signed_rows=True)
    split = SplitFanIn().run(network, chip, WIDE)
    after = SignedRows().run(split, chip, WIDE)
    for population in after.populations:
        if population.neuron.kind != "source":
            assert together(list(needs(after, population, chip, 8).values())).axons <= 24
    equal(network, after, x)


def test_other_chips_keep_their_networks() -> None:
    network, _ = dense(1)
    assert SignedRows().run(network, small_chip(), EIGHT) is network
    assert FitWeights().run(network, small_chip(), EIGHT) is network


@settings(max_examples=30, deadline=None)
@given(SEEDS, st.integers(3, 8), st.integers(0, 6))
def test_mantissas_and_exponents_keep_every_product(seed: int, bits: int, factor: int) -> None:
    network, x = dense(seed)
    chip = small_chip()
    top = min(7, 2 ** (bits - 1) - 1, 127 >> factor)
    wide = tuple(
        replace(p, weight=(np.clip(p.weight, -top, top) << factor).astype(np.int8)) if isinstance(p, Dense) else p
        for p in network.projections
    )
    before = replace(network, projections=wide)
    after = FitWeights().run(before, chip, Choices(weight_bits=bits))
    validate_network(after, timed=False)
    weights = chip.weight_format(bits)
    for p in after.projections:
        assert weights.low <= p.weight.min() <= p.weight.max() <= weights.high
        assert weights.shift_low <= p.shift <= weights.shift_high
    equal(before, after, x)


def test_weights_without_a_common_exponent_are_refused() -> None:
    network = layers([[1, 64]], [[1], [1]])
    with pytest.raises(UnsupportedError, match=r"layer .b. .*weights of 1 to 64 << 6 are no 4-bit mantissas \(-7"):
        FitWeights().run(network, small_chip(), Choices(weight_bits=4))


def test_shifts_beyond_the_chips_exponents_are_refused() -> None:
    network = layers([[3]], [[1]])
    far = tuple(replace(p, shift=32) for p in network.projections)
    with pytest.raises(UnsupportedError, match=r"weights of 3 to 3 << 32 .* one exponent of 0 to 14"):
        FitWeights().run(replace(network, projections=far), small_chip(), EIGHT)
