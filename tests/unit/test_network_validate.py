"""A network that is not well formed is refused in words that name the place."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from neurochip.errors import ProgramError
from neurochip.network.network import Neuron
from neurochip.network.projections import Bias, Pool, Source
from neurochip.network.validate import validate_network
from tests.hand_programs import image_network, spike_network
from tests.mode_networks import analog


def changed(network, kind, item, /, **fields):
    """``network`` with one population or projection changed."""
    items = tuple(replace(i, **fields) if i.name == item else i for i in getattr(network, kind))
    return replace(network, **{kind: items})


@pytest.mark.parametrize("network", [image_network(), spike_network()], ids=lambda n: n.name)
def test_good_networks_are_accepted(network):
    validate_network(network)


@pytest.mark.parametrize(
    ("kind", "name", "fields", "words"),
    [
        ("populations", "q", {"name": "k"}, "population 'k': expected a name of its own, found 2"),
        ("populations", "q", {"name": "other"}, "projection 'q.w': expected names of populations, found 'q'"),
        ("populations", "conv", {"depth": 2}, "projection 'conv.w': delay from 'stem': expected depth 2 - 0 = 2"),
        ("populations", "pool", {"depth": 3}, "(at least 1), found 1"),
        ("populations", "conv", {"height": 5}, "projection 'conv.w': expected target positions (6, 6), found (5, 6)"),
        ("populations", "conv", {"channels": 0}, "population 'conv': expected sizes >= 1"),
        (
            "populations",
            "conv",
            {"neuron": Neuron(kind="lif", decay=5000)},
            "expected a decay of 0 to 4096 (exponential leak), found 5000",
        ),
        ("populations", "conv", {"neuron": Neuron(kind="spiky")}, "unknown neuron kind 'spiky'"),
        ("populations", "conv", {"neuron": Neuron(kind="product")}, "population 'conv': expected exactly one product"),
        ("populations", "attention", {"neuron": Neuron(kind="lif")}, "expected a product population"),
        ("populations", "conv", {"neuron": Neuron(kind="source")}, "a source replays input"),
        ("populations", "readout", {"neuron": Neuron(kind="lif")}, "expected exactly one readout population"),
        (
            "projections",
            "conv.w",
            {"weight": np.zeros((3, 3, 4, 5), np.int8)},
            "expected weights of shape (3, 3, 4, 6)",
        ),
        ("projections", "conv.w", {"weight": np.zeros((3, 3, 4, 6), np.float32)}, "signed whole-number weights"),
        ("projections", "conv.w", {"stride": (0, 1)}, "impossible window"),
        ("projections", "conv.w", {"padding": (9, 9)}, "impossible window"),
        ("projections", "conv.w", {"groups": 3}, "3 groups do not divide 4 and 6 channels"),
        ("projections", "conv.w", {"shift": 99}, "expected a shift of 0 to 32, found 99"),
        ("projections", "conv.w", {"sources": ()}, "expected at least one source"),
        ("projections", "conv.w", {"sources": (Source("stem", 1),) * 2}, "expected different sources"),
        ("projections", "conv.b", {"shifts": (6,)}, "expected weights of shape (1, 6), found (2, 6)"),
        ("projections", "conv.b", {"sources": (Source("stem", 1),)}, "expected no sources, found 'stem'"),
        ("projections", "pool.w", {"kernel": (3, 3)}, "expected target positions (2, 2), found (3, 3)"),
        ("projections", "attention.p", {"heads": 3}, "3 heads do not divide 8 channels"),
        ("projections", "attention.p", {"sources": (Source("q", 1),)}, "expected sources (q, k, v) 3, found 1"),
        ("projections", "mixed.r", {"sources": (Source("conv", 4),)}, "expected target positions (6, 6), found (3, 3)"),
        ("projections", "stem.encoder", {"bias": np.zeros(3, np.int64)}, "expected a bias of shape (4,)"),
        ("projections", "stem.encoder", {"down": 0}, "expected multiplier >= 1 and down 1 to 62"),
        ("projections", "readout.w", {"weight": np.zeros((4, 4), np.int8)}, "expected weights of shape (4, 5)"),
    ],
)
def test_a_fault_is_named(kind, name, fields, words):
    with pytest.raises(ProgramError) as caught:
        validate_network(changed(image_network(), kind, name, **fields))
    assert words in str(caught.value)


def test_sources_of_different_shape_cannot_share_axons():
    network = changed(
        image_network(), "projections", "depthwise.w", sources=(Source("mixed", 1), Source("attention", 2))
    )
    with pytest.raises(ProgramError, match=r"sources of one shape, found \(3, 3, 6\) and \(3, 3, 8\)"):
        validate_network(network)


def test_facts_outside_populations_are_checked():
    network = spike_network()
    bad = replace(
        network,
        timesteps=0,
        input=replace(network.input, scale=0.0),
        readout=replace(network.readout, divisor=0, scale=float("nan")),
    )
    with pytest.raises(ProgramError) as caught:
        validate_network(bad)
    for words in (
        "timesteps: expected 1",
        "input: expected a positive scale",
        "divisor >= 1",
        "expected a positive scale",
    ):
        assert words in str(caught.value)


def test_a_spike_source_must_have_the_inputs_grid():
    with pytest.raises(ProgramError, match="expected the grid of spike input"):
        validate_network(changed(spike_network(), "populations", "p0", channels=19))


def test_many_faults_are_cut_short():
    network = image_network()
    extra = tuple(Pool(name=f"x{i}", sources=(Source("nowhere", 1),), target="conv", origin="x") for i in range(50))
    with pytest.raises(ProgramError, match="and 38 more"):
        validate_network(replace(network, projections=(*network.projections, *extra)))


def test_an_empty_bias_is_no_fault_of_shape():
    network = image_network()
    none = Bias(name="none", sources=(), target="conv", origin="x", weight=np.zeros((0, 6), np.int16), shifts=())
    validate_network(replace(network, projections=(*network.projections, none)))


def test_an_analog_source_sends_payloads_of_the_inputs_range():
    network = analog(-127, 127)
    validate_network(network, timed=False)
    for change in ({"high": 126}, {"signed": False}):
        with pytest.raises(ProgramError, match="expected payloads of -127 to 127"):
            validate_network(changed(network, "populations", "x", **change), timed=False)
    with pytest.raises(ProgramError, match="expected the grid of spike input"):
        validate_network(changed(network, "populations", "x", coding="spikes"), timed=False)
