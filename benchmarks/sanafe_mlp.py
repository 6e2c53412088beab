"""The integrate-and-fire network in SANA-FE on its own Loihi: seconds of a detailed run. Needs sanafe and numpy only.

    PYTHON benchmarks/sanafe_mlp.py NETWORK.npz NEURONS_PER_CORE

``NETWORK.npz``: ``weight0``, ``weight1``, ... (n_in, n_out), ``threshold`` of each layer in units of the weights, and
``spikes`` (T, n_in). Prints one line of JSON: wall and CPU seconds of ``sim`` alone, building and loading apart.
"""

from __future__ import annotations

import json
import sys
import time
from importlib.metadata import version
from typing import Any

import numpy as np
import sanafe


def build(data: Any, per_core: int) -> tuple[Any, Any]:
    """Architecture and network, neurons placed in order."""
    arch, network = sanafe.load_loihi(), sanafe.Network()
    weights = [data[f"weight{i}"] for i in range(len(data["threshold"]))]
    cores = [core for tile in arch.tiles for core in tile.cores]
    inputs = network.create_neuron_group("input", len(weights[0]), soma_hw_name="loihi_inputs[0]")
    groups = [inputs]
    for i, (weight, threshold) in enumerate(zip(weights, data["threshold"], strict=True)):
        model = {"threshold": float(threshold), "leak_decay": 1.0, "reset": 0.0, "reset_mode": "hard"}
        name = f"layer{i + 1}"
        groups.append(
            network.create_neuron_group(
                name, weight.shape[1], model_attributes=model, soma_hw_name="loihi_lif",
                default_synapse_hw_name="loihi_dense_synapse",
            )
        )  # fmt: skip
        groups[-2].connect_neurons_dense(groups[-1], {"weight": weight.astype(float).ravel().tolist()})
    for n, neuron in enumerate(inputs):
        train = [int(s) for s in data["spikes"][:, n]]
        neuron.set_attributes(soma_hw_name=f"loihi_inputs[{n}]", model_attributes={"spikes": train})
    core = -1
    for group in groups:
        for n, neuron in enumerate(group):
            core += n % per_core == 0
            neuron.map_to_core(cores[core])
    return arch, network


def main(path: str, per_core: int) -> None:
    """Time a run and print the result."""
    data = np.load(path)
    begun = time.perf_counter()
    arch, network = build(data, per_core)
    chip = sanafe.SpikingChip(arch)
    chip.load(network)
    loaded = time.perf_counter() - begun
    begun, worked = time.perf_counter(), time.process_time()
    result = chip.sim(len(data["spikes"]) + len(data["threshold"]), timing_model="detailed")  # once: inputs end with it
    times = {"wall_s": time.perf_counter() - begun, "cpu_s": time.process_time() - worked, "load_s": loaded}
    facts = {name: result[name] for name in ("spikes", "packets_sent", "neurons_fired", "sim_time") if name in result}
    print(json.dumps({**times, "version": version("sanafe"), **facts}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
