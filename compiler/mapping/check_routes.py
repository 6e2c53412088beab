"""Checker, part five: routes that follow from tiles and ports feed every axon of every port exactly once."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from neurochip.program.image import Program
from neurochip.program.routes import Fan

Ints = NDArray[np.int64]
_AXES = (("y0", "y1"), ("x0", "x1"), ("c0", "c1"))


def route_problems(program: Program) -> Iterator[str]:
    """Every (position, channel, source) of a port is fed by exactly one route, from the tile that owns the neuron.

    Tiles do not overlap (``check``), so distinct tiles of the right population whose common volumes with a port add up
    to the port's volume feed every axon exactly once. Ports of equal boxes are counted together.
    """
    yield from _groups(program)
    for number, population in enumerate(program.network.populations):
        fans = list(program.routing.fans(number))
        sources = ((i, source) for i, bundle in enumerate(program.bundles) for source in bundle)
        expected = [(i, source.delay) for i, source in sources if source.population == population.name]
        if [(fan.bundle, fan.delay) for fan in fans] != expected:
            yield f"population {population.name!r}: its routes are not those of the bundles that it is a source of"
        for fan in fans:
            yield from _fed(program, fan, number)
    unused = np.setdiff1d(np.arange(len(program.ports)), program.synapses["port"])
    if len(unused):
        yield f"ports: port {unused[0]} feeds no synapse block (and {len(unused) - 1} more)"


def _groups(program: Program) -> Iterator[str]:
    """Every port is in one group, of its own bundle and its own box."""
    ports = program.ports
    times = np.zeros(len(ports), np.int64)
    for bundle, groups in enumerate(program.routing.groups):
        np.add.at(times, groups.ports, 1)
        heard, boxes = ports[groups.ports], np.repeat(groups.boxes, np.diff(groups.start), axis=0)
        wrong = heard["bundle"] != bundle
        for column, name in enumerate(name for axis in _AXES for name in axis):
            wrong |= heard[name] != boxes[:, column]
        for port in groups.ports[wrong][:1]:
            yield f"port {port}: grouped with ports of another bundle or box"
    for port in np.flatnonzero(times != 1)[:1]:
        yield f"port {port}: in {times[port]} groups of ports that hear the same tiles, expected 1"


def _fed(program: Program, fan: Fan, population: int) -> Iterator[str]:
    """The tiles of ``population`` bring each group of ports all that it listens to, once."""
    name, tiles = program.network.populations[population].name, program.tiles[fan.tile]
    for tile in fan.tile[tiles["population"] != population][:1]:
        yield f"routes of {name!r} start at tile {tile} of another population"
    pair = np.sort(fan.group.astype(np.int64) * len(program.tiles) + fan.tile)
    for key in pair[1:][pair[1:] == pair[:-1]][:1]:
        group, tile = divmod(int(key), len(program.tiles))
        yield f"routes: port {fan.groups.ports[fan.groups.start[group]]} has two routes from tile {tile}"
    common = np.ones(len(tiles), np.int64)
    wanted = np.ones(len(fan.groups.boxes), np.int64)
    for axis, (low, top) in enumerate(_AXES):
        begin, end = fan.groups.boxes[:, 2 * axis], fan.groups.boxes[:, 2 * axis + 1]
        wanted *= end - begin
        common *= np.maximum(0, np.minimum(tiles[top], end[fan.group]) - np.maximum(tiles[low], begin[fan.group]))
    for k in np.flatnonzero(common == 0)[:1]:
        port = fan.groups.ports[fan.groups.start[fan.group[k]]]
        yield f"routes: port {port} and tile {fan.tile[k]}, which sends to it, have no neuron in common"
    brought = np.rint(np.bincount(fan.group, weights=common, minlength=len(wanted))).astype(np.int64)
    for group in np.flatnonzero(brought != wanted)[:1]:
        port = fan.groups.ports[fan.groups.start[group]]
        yield (
            f"port {port} of core {program.ports['core'][port]}: routes bring {brought[group]} of the {wanted[group]} "
            f"neurons of {name!r} it listens to"
        )
