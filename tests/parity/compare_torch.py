"""Save a torch model as upstream's trainers do, import the file, and compare logits and every neuron layer."""

from __future__ import annotations

import argparse

import numpy as np
import torch

from compiler.importers import load_model
from tests.parity.spikformer_torch import LIF, calibrated, over_steps  # noqa: F401  (shared with the models)


def saved(path, model, args=None, *, prefix="", wrapper="state_dict"):
    """Write the state dict of ``model`` under ``wrapper`` with its arguments, as a trainer does."""
    state = {f"{prefix}{key}": tensor for key, tensor in model.state_dict().items()}
    torch.save({"epoch": 3, wrapper: state, "args": argparse.Namespace(**(args or {}))}, path)
    return path


def assert_parity(path, model, x, *, arch=None, settings=None, neurons=(LIF,)):
    """Import ``path`` and run it on ``x``, (B, ...) or (T, B, ...); returns the graph.

    ``model`` is run in float64; its neurons keep what they fired in ``spikes`` (T, B, ...).
    """
    with torch.no_grad():
        logits = model.double()(x.double()).numpy()
    graph = load_model(path, arch=arch, settings=settings)
    run = graph.run(x.double().numpy(), record="spikes")
    np.testing.assert_allclose(run.logits, logits, rtol=1e-9, atol=1e-9 * np.abs(logits).max())
    layers = {key: m for key, m in model.named_modules() if isinstance(m, neurons) and m.spikes is not None}
    assert set(run.spikes) == set(layers)
    for key, module in layers.items():
        expected = module.spikes.flatten(2).sum(2).numpy()
        np.testing.assert_array_equal(run.spikes[key], expected, err_msg=key)
        assert expected.sum() > 0, f"{key} is silent: the test shows nothing"
    return graph
