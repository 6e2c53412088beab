"""Loihi with small cores and few of them, so that small networks need many cores and several chips."""

from __future__ import annotations

import json

from neurochip.chip.load import load_chip
from neurochip.chip.spec import ChipSpec
from neurochip.network.arithmetic import Arithmetic


def small_chip(
    neurons: int = 40,
    input_axons: int = 600,
    output_axons: int = 900,
    words: int = 2000,
    columns: int = 3,
    rows: int = 2,
    arithmetic: Arithmetic | None = None,
    max_delay: int | None = None,
    weight_sharing: bool = True,
    payload: int = 0,
    counts: bool = True,
    signed_rows: bool = False,
) -> ChipSpec:
    """Loihi's rules and costs with these limits and this mesh, two cores a router."""
    data = json.loads(load_chip("loihi").to_json())
    data["core"]["neurons"]["value"] = neurons
    data["core"]["input_axons"]["value"] = input_axons
    data["core"]["output_axons"]["value"] = output_axons
    data["core"]["synapse_memory"]["words"]["value"] = words
    data["mesh"]["columns"]["value"] = columns
    data["mesh"]["rows"]["value"] = rows
    data["mesh"]["cores_per_router"]["value"] = 2
    data["embedded_processors"]["routers"]["value"] = [[0, 0], [0, 1], [1, 0]]
    data["core"]["weight_sharing"] = weight_sharing
    data["spikes"]["payload"]["value"] = payload
    data["spikes"]["counts"] = counts
    if signed_rows:
        data["weights"]["sign"] = "row"
    if max_delay is not None:
        data["delays"]["max"]["value"] = max_delay
    if arithmetic is not None:
        data["neuron"]["arithmetic"] = arithmetic.model_dump()
    return ChipSpec.model_validate(data)
