"""A model that does not fit: which limit, by how much, which layer, what to try."""

from __future__ import annotations

import numpy as np
import pytest

from compiler.mapping.map import board, map_network
from compiler.mapping.pack import lower_bound
from compiler.mapping.tile import tile_network
from neurochip.errors import CapacityError
from tests.property.test_simulator import ORIGIN
from tests.small_chips import small_chip
from tests.strategies import random_network


def test_too_few_cores_names_the_excess_and_the_largest_layer() -> None:
    network, _ = random_network(7)
    chip = small_chip(neurons=8)
    tiny = chip.model_copy(
        update={
            "boards": chip.boards.model_copy(
                update={"max_chips": chip.boards.max_chips.model_copy(update={"value": 1})}
            )
        }
    )
    with pytest.raises(CapacityError) as error:
        map_network(network, tiny, ORIGIN, ())
    text = str(error.value)
    assert "the largest 'loihi' system has 12 (1 chips of 12)" in text
    assert "too many; layer '" in text
    assert "Use fewer --weight-bits" in text


@pytest.mark.parametrize(
    ("limits", "resource", "advice"),
    [
        ({"words": 1}, "synapse words", "narrower weights do not help"),
        ({"input_axons": 1}, "input axons", "reduce the fan-in"),
    ],
)
def test_one_neuron_that_fits_no_core_names_the_limit(limits: dict[str, int], resource: str, advice: str) -> None:
    network, _ = random_network(7)
    with pytest.raises(CapacityError) as error:
        map_network(network, small_chip(**limits), ORIGIN, ())
    text = str(error.value)
    assert f"{resource}, a core of 'loihi' has 1 (" in text
    assert "times too many)" in text
    assert advice in text


def test_cores_used_are_at_least_the_lower_bound() -> None:
    for seed in range(12):
        network, _ = random_network(seed)
        chip = small_chip()
        program = map_network(network, chip, ORIGIN, ())
        tilings = [t for t in tile_network(network, chip, 8).values() if t.demand]
        assert program.lower_bound_cores == lower_bound(tilings, chip) <= program.n_cores


def test_chips_form_a_near_square_board() -> None:
    chip = small_chip()
    assert [board(n, chip) for n in (1, 2, 4, 5, 9)] == [(1, 1), (2, 1), (2, 2), (3, 2), (3, 3)]
    with pytest.raises(CapacityError, match="chips, a 'loihi' board has"):
        board(chip.chip_columns * chip.chip_rows + 1, chip)


def test_neurons_of_a_core_never_exceed_its_limit() -> None:
    network, _ = random_network(11)
    program = map_network(network, small_chip(neurons=10), ORIGIN, ())
    neuro = program.use[program.cores["kind"] == 0]
    assert neuro["neurons"].max() <= 10
    assert np.all(neuro["neurons"] > 0)
