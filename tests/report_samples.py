"""Runs to report on: random networks on several small chips, a network to count by hand, a huge board."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np

from compiler.mapping.map import map_network
from neurochip.network.network import InputSpec, Network, Neuron, Population, ReadoutSpec
from neurochip.network.projections import Dense, Encoder, Source
from neurochip.noc.mesh import Mesh
from neurochip.program.image import CORES, NEURON_CORE, TILES, USE, Layer, Origin, Program
from neurochip.report.report import Report, make_report
from neurochip.sim.engine import run_program
from neurochip.sim.trace import CoreCounts, Trace
from tests.hand_programs import LOIHI, naive_program
from tests.small_chips import small_chip
from tests.strategies import random_network

PROFILES = ("loihi_davies2018", "loihi_sanafe_nahuku")


def origin(profile: str = PROFILES[0]) -> Origin:
    return Origin(
        model="sample",
        model_sha256="ab" * 32,
        family="sample",
        compiler_version="0.1.0",
        weight_bits=8,
        attention="processor",
        placement="row-major",
        profile=profile,
        seed=0,
        settings=(("T", "4", "given"),),
        ignored=("head.extra",),
    )


@cache
def random_report(seed: int, profile: str = PROFILES[0]) -> Report:
    """A random network on as many small chips as it needs; every weight layer would do 1000 MACs as an ANN."""
    network, x = random_network(seed)
    names = dict.fromkeys(p.origin for p in network.projections if p.counted and not isinstance(p, Encoder))
    layers = tuple(Layer(name=name, kind="linear", dense_macs=1000) for name in names)
    program = map_network(network, small_chip(), origin(profile), layers)
    return make_report(program, run_program(program, x))


def hand_network(name: str = "hidden") -> Network:
    """3 inputs -> 2 neurons that keep their charge and fire above 15 -> 1 readout; two steps, weights 10 and 5."""

    def population(name: str, size: int, depth: int, neuron: Neuron) -> Population:
        return Population(name=name, height=1, width=1, channels=size, neuron=neuron, origin=name, depth=depth)

    return Network(
        name="hand",
        timesteps=2,
        populations=(
            population("input", 3, 0, Neuron(kind="source")),
            population(name, 2, 1, Neuron(kind="lif", threshold=15 << 6)),
            population("head", 1, 2, Neuron(kind="readout")),
        ),
        projections=(
            Dense(
                name="w1",
                sources=(Source("input", 1),),
                target=name,
                origin=name,
                weight=np.full((3, 2), 10, np.int8),
                shift=6,
            ),
            Dense(
                name="w2",
                sources=(Source(name, 1),),
                target="head",
                origin="head",
                weight=np.full((2, 1), 5, np.int8),
            ),
        ),
        input=InputSpec(shape=(3,), kind="spikes", scale=1.0, low=0, high=1),
        readout=ReadoutSpec(population="head", scale=1.0, divisor=1, bias=(0.0,)),
        arithmetic=LOIHI.arithmetic,
    )


HAND_INPUT = np.array([[[1, 0, 1]], [[0, 1, 0]]], np.float64)
"""(T, B, 3): two spikes in the first step make both neurons fire, one in the second leaves them charged."""


def hand_report(profile: str = PROFILES[0], name: str = "hidden") -> Report:
    """``hand_network`` with its second core two routers east and one south of the first, where the host is."""
    program = naive_program(hand_network(name))
    cores = program.cores.copy()
    cores["x"][2], cores["y"][2] = 2, 1
    layers = (Layer(name=name, kind="linear", dense_macs=6), Layer(name="head", kind="linear", dense_macs=2))
    program = replace(program, cores=cores, layers=layers, origin=replace(program.origin, profile=profile))
    return make_report(program, run_program(program, HAND_INPUT), labels=np.array([0]))


def big_report(n_cores: int = 12_000) -> Report:
    """A board of Loihi chips, every core busy and every link loaded; the counts are made up, not simulated."""
    small = hand_report()
    rng = np.random.default_rng(0)
    chips = -(-n_cores // LOIHI.cores_per_chip)
    side = int(np.ceil(np.sqrt(chips)))
    number = np.arange(n_cores)
    chip, inside = np.divmod(number, LOIHI.cores_per_chip)
    router, slot = np.divmod(inside, LOIHI.cores_per_router)
    cores = np.zeros(n_cores, CORES)
    cores["kind"], cores["chip"], cores["slot"] = NEURON_CORE, chip, slot
    cores["x"] = chip % side * LOIHI.mesh_columns + router % LOIHI.mesh_columns
    cores["y"] = chip // side * LOIHI.mesh_rows + router // LOIHI.mesh_columns
    tiles, use = np.zeros(n_cores, TILES), np.zeros(n_cores, USE)
    tiles["core"], tiles["population"] = number, 1 + number % 2
    use["neurons"] = rng.integers(1, 1025, n_cores)
    program: Program = replace(small.program, cores=cores, tiles=tiles, use=use)
    mesh = Mesh(columns=LOIHI.mesh_columns, rows=LOIHI.mesh_rows, chip_columns=side, chip_rows=-(-chips // side))
    counts = CoreCounts.zeros(n_cores)
    for values in (counts.ops_dense, counts.packets_in, counts.packets_out):
        values += rng.integers(0, 10_000_000, n_cores)
    counts.busy_ns[:] = rng.random(n_cores) * 1e7
    trace: Trace = replace(small.trace, cores=counts, links=rng.integers(1, 10_000_000, mesh.n_links))
    return make_report(program, trace)
