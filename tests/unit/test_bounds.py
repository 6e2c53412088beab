"""Cores of each population beside the fewest its demands allow."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from compiler.mapping.bounds import core_rows, core_shares, pair_use
from compiler.mapping.tile import RESOURCES
from neurochip.program.image import NEURON_CORE
from tests.hand_programs import image_network, naive_program, spike_network


@pytest.mark.parametrize("tiles_per_core", [1, 3])
def test_demands_of_populations_that_share_no_core_are_the_use_of_their_cores(tiles_per_core: int) -> None:
    program = naive_program(image_network(), tiles_per_core=tiles_per_core)
    use = pair_use(program, program.tiles["core"].astype(np.int64), len(program.cores))
    on_cores = program.cores["kind"] == NEURON_CORE
    assert use[on_cores].tolist() == program.use[on_cores].tolist()
    assert sum(share.cores for share in core_shares(program)) == on_cores.sum()


def test_a_population_needs_as_many_cores_as_its_tightest_resource_fills() -> None:
    program = naive_program(spike_network())
    limits = program.chip.limits
    for share in core_shares(program):
        number = [p.name for p in program.network.populations].index(share.population)
        used = program.use[np.unique(program.tiles["core"][program.tiles["population"] == number])]
        shares = {name: used[name].sum() / getattr(limits, name) for name in RESOURCES}
        assert share.at_least == pytest.approx(max(shares.values()))
        assert shares[share.tightest] == max(shares.values())


def test_a_shared_core_counts_in_parts_and_each_population_keeps_its_own_demand() -> None:
    apart = naive_program(spike_network(), rows=1, channels=20)
    core = apart.tiles["core"].copy()
    first, second = np.flatnonzero(apart.cores["kind"][core] == NEURON_CORE)[:2]
    tiles, ports = apart.tiles.copy(), apart.ports.copy()
    ports["core"][ports["core"] == core[second]] = core[first]
    tiles["core"][second] = core[first]
    together = core_shares(replace(apart, tiles=tiles, ports=ports))
    for before, after in zip(core_shares(apart), together, strict=True):
        assert after.at_least == pytest.approx(before.at_least)
    assert [share.cores for share in together][:2] == [0.5, 0.5]


def test_the_last_row_adds_the_populations_up() -> None:
    program = naive_program(image_network())
    *rows, last = core_rows(program)
    assert last["cores"] == program.n_cores
    assert last["at least"] == pytest.approx(sum(row["at least"] for row in rows), abs=0.01 * len(rows))
