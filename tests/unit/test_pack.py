"""Packing is first fit, tile by tile, among the latest cores."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from compiler.mapping import pack as packing
from compiler.mapping.formats import Held, Values
from compiler.mapping.tile import RESOURCES, Tiling
from neurochip.chip.load import load_chip
from neurochip.network.network import Neuron, Population
from tests.unit.test_pack_formats import chip_with

LOIHI = load_chip("loihi")


@dataclass(frozen=True)
class Case:
    tilings: list[Tiling]
    formats: list[dict[str, Values]]


def random_case(seed: int) -> Case:
    """Tilings whose tiles take between nothing and all of each resource."""
    rng = np.random.default_rng(seed)
    tilings, formats = [], []
    for _ in range(rng.integers(1, 12)):
        demand = {name: int(getattr(LOIHI.limits, name) * rng.choice([0, 0.1, 0.3, 0.5, 1]) * rng.random())
                  for name in RESOURCES}  # fmt: skip
        population = Population(
            name="p", height=1, width=1, channels=int(rng.integers(1, 30)), neuron=Neuron(kind="lif"), origin="p"
        )
        tilings.append(Tiling(population=population, shape=(1, 1, int(rng.integers(1, 4))), demand=demand))
        several: Values = frozenset((int(value),) for value in rng.integers(0, 4, 2))
        formats.append({"neuron": several, "threshold": several, "synapse": several, "mode": frozenset({("spiking",)})})
    return Case(tilings, formats)


def first_fit(case: Case, chip, window: int, with_formats: bool) -> list[int]:
    """The core of every tile, one tile after the other."""
    free: list[np.ndarray] = []
    held, assigned = Held(chip), []
    state: list[int] = []
    for tiling, needed in zip(case.tilings, case.formats, strict=True):
        need = np.array([tiling.demand[name] for name in RESOURCES])
        for _ in range(tiling.n_tiles):
            latest = range(max(0, len(free) - window), len(free))
            fitting = (
                c
                for c in latest
                if (free[c] >= need).all() and (not with_formats or held.fits(held.joined(state[c], needed)))
            )
            core = next(fitting, len(free))
            if core == len(free):
                free.append(np.array([getattr(chip.limits, name) for name in RESOURCES]))
                state.append(0)
            free[core] = free[core] - need
            if with_formats:
                state[core] = held.joined(state[core], needed)
            assigned.append(core)
    return assigned


@pytest.mark.parametrize("window", [1, 3, 256])
@pytest.mark.parametrize("with_formats", [False, True])
def test_packing_is_first_fit(window: int, with_formats: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "WINDOW", window)
    monkeypatch.setattr(packing, "TRIES", 0)
    chip = chip_with(neuron=1 if with_formats else 64, threshold=3)
    for seed in range(60):
        case = random_case(seed)
        found = packing.pack(case.tilings, chip, case.formats if with_formats else None)
        assert found.tolist() == first_fit(case, chip, window, with_formats), seed
