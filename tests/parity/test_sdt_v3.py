"""An imported Spike-driven Transformer V3 computes what PyTorch computes: small, event-camera and large models."""

import argparse

import numpy as np
import pytest

from compiler.importers import load_model
from compiler.ir.ops import IntegerNeuron
from neurochip.errors import CheckpointError

torch = pytest.importorskip("torch")
from tests.parity.sdt_v3_torch import Integer, SpikeDrivenV3  # noqa: E402
from tests.parity.spikformer_torch import calibrated  # noqa: E402

torch.set_num_threads(1)  # threads only wait for each other on layers this small

CASES = {
    "sdt-v3": ({"kind": "small", "widths": (8, 12, 16, 24)}, {}),
    "sdt-v3, T=2": ({"kind": "small", "widths": (8, 8, 8, 8), "blocks": (1, 2), "steps": 2}, {"T": "2"}),
    "sdt-v3-dvs": ({"kind": "events", "widths": (8, 12, 16, 24), "channels": 2, "norm": 8}, {"norm": "8"}),
    "sdt-v3-large": ({"kind": "large", "widths": (8, 12, 16), "distilled": True}, {}),
    "sdt-v3-large, merged": ({"kind": "large", "widths": (8, 12, 16)}, {"rep_conv": "merged"}),
}


def saved(folder, **sizes):
    """(path, torch model in float64, input) of a small model, saved as upstream's trainer does."""
    torch.manual_seed(5)
    model = SpikeDrivenV3(heads=2, **sizes)
    lead = (3, 4) if sizes["kind"] == "events" else (4,)
    images = torch.randn(*lead, sizes.get("channels", 3), 64, 48)
    calibrated(model, images, seed=6)
    path = folder / "checkpoint-7.pth"
    args = argparse.Namespace(model="Efficient_Spiking_Transformer_l", time_steps=lead[0] if len(lead) == 2 else 1)
    torch.save({"model": model.state_dict(), "optimizer": {}, "epoch": 7, "scaler": {}, "args": args}, path)
    return path, model.double(), images[..., :2, :, :, :].double()


@pytest.mark.parametrize("name", CASES)
def test_logits_and_spikes_equal_torch(name, tmp_path):
    sizes, settings = CASES[name]
    path, model, images = saved(tmp_path, **sizes)
    with torch.no_grad():
        logits = model(images).numpy()
    graph = load_model(path, settings={"num_heads": "2", "img_size": "64x48", **settings})
    run = graph.run(images.numpy())
    assert graph.name == name.partition(",")[0]
    np.testing.assert_allclose(run.logits, logits, rtol=1e-9, atol=1e-9 * np.abs(logits).max())
    neurons = {key: module for key, module in model.named_modules() if isinstance(module, Integer)}
    assert set(run.spikes) == set(neurons)
    for key, module in neurons.items():
        np.testing.assert_array_equal(run.spikes[key], module.spikes.flatten(2).sum(2).numpy(), err_msg=key)
    silent = [key for key, counts in run.spikes.items() if counts.sum() == 0]
    assert len(silent) < 2, f"silent layers show nothing: {silent}"


def test_rounding_follows_the_layout_and_can_be_set(tmp_path):
    path, *_ = saved(tmp_path, **CASES["sdt-v3"][0])
    settings = {"num_heads": "2", "img_size": "64x48"}
    neurons = load_model(path, settings=settings).of_type(IntegerNeuron)
    assert {(node.op.rounding, node.op.levels, node.op.decay) for node in neurons} == {("even", 4, 0.0)}
    settings |= {"rounding": "up", "levels": "8", "stateful": "yes"}
    neurons = load_model(path, settings=settings).of_type(IntegerNeuron)
    assert {(node.op.rounding, node.op.levels, node.op.decay) for node in neurons} == {("up", 8, 1.0)}


def test_whole_numbers_enter_every_weight_layer(tmp_path):
    path, *_ = saved(tmp_path, **CASES["sdt-v3"][0])
    graph = load_model(path, settings={"num_heads": "2", "img_size": "64x48", "norm": "1"})
    inputs = [graph.type_of(name) for node in graph.nodes if node.op.mnemonic == "conv2d" for name in node.inputs]
    assert [kind.is_counts for kind in inputs] == [False, *[True] * (len(inputs) - 1)]


def test_the_divisor_of_event_camera_models_is_never_guessed(tmp_path):
    path, *_ = saved(tmp_path, **CASES["sdt-v3-dvs"][0])
    with pytest.raises(CheckpointError, match=r"does not tell 'norm' \(what spike counts are divided by\)"):
        load_model(path, settings={"num_heads": "2", "img_size": "64x48"})


def test_tensors_that_do_not_fit_are_listed(tmp_path):
    path, *_ = saved(tmp_path, **CASES["sdt-v3-large"][0])
    file = torch.load(path, weights_only=False)
    del file["model"]["block3.0.attn.k_conv.0.conv2.1.running_var"]
    file["model"]["block3.0.attn.k_conv.0.conv2.0.bias"] = torch.ones(16)
    torch.save(file, path)
    message = (
        r"1 missing: block3\.0\.attn\.k_conv\.0\.conv2\.1\.running_var \[16\]; 1 unexpected: .*conv2\.0\.bias \[16\]"
    )
    with pytest.raises(CheckpointError, match=message):
        load_model(path, settings={"num_heads": "2", "img_size": "64x48"})
