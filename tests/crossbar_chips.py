"""Crossbar chips with small cores: binary crosspoints, typed axons of one bit a tick, one destination a neuron."""

from __future__ import annotations

import json
from functools import cache

from neurochip.chip.load import load_chip
from neurochip.chip.spec import ChipSpec


@cache
def described() -> str:
    """TrueNorth's description."""
    return load_chip("truenorth").to_json()


def crossbar_chip(neurons: int = 48, axons: int = 48, *, max_delay: int = 15, fan_out: int = 1) -> ChipSpec:
    """TrueNorth's rules with cores of ``axons`` x ``neurons`` crosspoints, many of them."""
    data = json.loads(described())
    core = data["core"]
    core["neurons"]["value"], core["input_axons"]["value"] = neurons, axons
    core["output_axons"]["value"], core["fan_out_per_neuron"]["value"] = neurons * fan_out, fan_out
    core["synapse_memory"]["words"]["value"] = axons
    data["delays"]["max"]["value"] = max_delay
    return ChipSpec.model_validate(data)
