"""Imported SpikeGPT and SpikeBERT compute what PyTorch computes, and say which parts no chip takes as spikes."""

import numpy as np
import pytest

from compiler.importers import load_model
from compiler.ir.ops import LayerNorm, Linear
from neurochip.errors import CheckpointError

torch = pytest.importorskip("torch")
from tests.parity.language_torch import SpikeBERT, SpikeGPT, shaken  # noqa: E402
from tests.parity.spikformer_torch import LIF  # noqa: E402

torch.set_num_threads(1)  # threads only wait for each other on layers this small


def saved(folder, model):
    """(path, torch model in float64): a bare state dict, as upstream saves it."""
    path = folder / "model.pth"
    torch.save(shaken(model, seed=11).state_dict(), path)
    return path, model.double()


def assert_equal_spikes(run, model):
    neurons = {key: module for key, module in model.named_modules() if isinstance(module, LIF)}
    assert set(run.spikes) == set(neurons)
    for key, module in neurons.items():
        np.testing.assert_array_equal(run.spikes[key], module.spikes.flatten(2).sum(2).numpy(), err_msg=key)
    silent = [key for key, counts in run.spikes.items() if counts.sum() == 0]
    assert len(silent) < 3, f"silent layers show nothing: {silent}"


@pytest.mark.parametrize("pre", [False, True])
def test_spikegpt_equals_torch_on_every_token(pre, tmp_path):
    path, model = saved(tmp_path, SpikeGPT(pre=pre))
    ids = torch.randint(0, 30, (9, 2))
    with torch.no_grad():
        logits = model(ids).numpy()
    graph = load_model(path, settings={"T": "9"})
    run = graph.run(ids.numpy())
    assert graph.name == "spikegpt"
    np.testing.assert_allclose(run.logits, logits, rtol=1e-9, atol=1e-9 * np.abs(logits).max())
    assert_equal_spikes(run, model)


@pytest.mark.parametrize("tau", [2.0, 10.0])
def test_spikebert_equals_torch(tau, tmp_path):
    path, model = saved(tmp_path, SpikeBERT(tau=tau, steps=6))
    ids = torch.randint(0, 30, (3, 7))
    with torch.no_grad():
        logits = model(ids).numpy()
    settings = {"T": "6", "length": "7", "num_heads": "2", "tau": str(tau)}
    graph = load_model(path, settings=settings)
    run = graph.run(ids.numpy())
    assert graph.name == "spikebert"
    np.testing.assert_allclose(run.logits, logits.mean(0), rtol=1e-9, atol=1e-9 * np.abs(logits).max())
    assert_equal_spikes(run, model)
    every_step = load_model(path, settings=settings | {"every_step": "true"}).run(ids.numpy())
    np.testing.assert_allclose(every_step.logits, logits, rtol=1e-9, atol=1e-9 * np.abs(logits).max())


def test_matrices_of_spikegpt_read_no_spikes(tmp_path):
    path, _ = saved(tmp_path, SpikeGPT())
    graph = load_model(path, settings={"T": "4"})
    assert not any(graph.type_of(name).integer for node in graph.of_type(Linear) for name in node.inputs)


def test_parts_for_distillation_are_ignored_by_name(tmp_path):
    path, _ = saved(tmp_path, SpikeBERT())
    graph = load_model(path, settings={"num_heads": "2"})
    assert graph.ignored == tuple(
        f"transforms.{i}.{part}.{key}" for i in (0, 1) for part in ("fc", "ln") for key in ("weight", "bias")
    )
    assert len(graph.of_type(LayerNorm)) == 2 * 6 + 1


def test_tensors_that_do_not_fit_are_listed(tmp_path):
    path, _ = saved(tmp_path, SpikeGPT())
    state = torch.load(path)
    del state["blocks.1.att.time_first"]
    state["blocks.1.ffn.time_mix_v"] = torch.ones(1, 1, 16)
    torch.save(state, path)
    message = r"1 missing: blocks\.1\.att\.time_first \[16\]; 1 unexpected: blocks\.1\.ffn\.time_mix_v \[1, 1, 16\]$"
    with pytest.raises(CheckpointError, match=message):
        load_model(path)
