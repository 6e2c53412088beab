"""An imported SpikingResformer computes what PyTorch computes: ImageNet and small stems, fixed and learned leaks."""

from dataclasses import replace

import numpy as np
import pytest

from compiler.importers import load_model
from compiler.ir.graph import Node
from neurochip.errors import CheckpointError
from tests.exact import assert_exact, ranged

torch = pytest.importorskip("torch")
from tests.parity.spikformer_torch import LIF, calibrated  # noqa: E402
from tests.parity.spikingresformer_torch import SpikingResformer  # noqa: E402

torch.set_num_threads(1)  # threads only wait for each other on layers this small

SMALL = {"planes": (8, 16), "heads": (1, 2), "patches": (4, 2), "repeats": (1, 2)}
CASES = {
    "imagenet": {"steps": 4, "size": 64, "large": True, **SMALL},
    "cifar": {"steps": 2, "size": 32, "large": False, "planes": (16,), "heads": (4,), "patches": (2,), "repeats": (2,)},
    "events, learned": {"steps": 3, "size": 32, "large": False, "learned": True, **SMALL},
}


def saved(folder, **sizes):
    """(path, torch model in float64, input) of a small model, saved as upstream's trainer does."""
    torch.manual_seed(7)
    model = SpikingResformer(**sizes)
    lead = (sizes["steps"], 4) if sizes.get("learned") else (4,)
    images = torch.randn(*lead, 3, sizes["size"], sizes["size"])
    calibrated(model, images, seed=8)
    path = folder / "checkpoint_max_acc1.pth"
    torch.save({"model": model.state_dict(), "optimizer": {}, "epoch": 3, "max_acc1": 0.5}, path)
    return path, model.double(), images[..., :2, :, :, :].double()


@pytest.mark.parametrize("name", CASES)
def test_logits_and_spikes_equal_torch(name, tmp_path):
    sizes = CASES[name]
    path, model, images = saved(tmp_path, **sizes)
    with torch.no_grad():
        logits = model(images).numpy()
    settings = {"T": str(sizes["steps"]), "img_size": str(sizes["size"])}
    run = load_model(path, settings=settings).run(images.numpy())
    np.testing.assert_allclose(run.logits, logits.mean(0), rtol=1e-9, atol=1e-9 * np.abs(logits).max())
    neurons = {key: module for key, module in model.named_modules() if isinstance(module, LIF)}
    assert set(run.spikes) == set(neurons)
    for key, module in neurons.items():
        np.testing.assert_array_equal(run.spikes[key], module.spikes.flatten(2).sum(2).numpy(), err_msg=key)
        assert run.spikes[key].sum() > 0, f"{key} is silent: the test shows nothing"
    every_step = load_model(path, settings=settings | {"TET": "true"}).run(images.numpy())
    np.testing.assert_allclose(every_step.logits, logits, rtol=1e-9, atol=1e-9 * np.abs(logits).max())


def changed(path, key, value):
    file = torch.load(path)
    file["model"].pop(key) if value is None else file["model"].update({key: value})
    torch.save(file, path)
    return path


def test_what_the_file_tells_and_what_not(tmp_path):
    path, *_ = saved(tmp_path, **CASES["cifar"])
    found = {setting.name: (setting.value, setting.origin) for setting in load_model(path).settings}
    assert found["img_size"] == ((32, 32), "default")
    assert found["T"] == (4, "default")
    assert found["planes"] == ((16,), "tensor shapes")
    assert found["spike_mode"] == ("lif", "tensor shapes")


def test_models_that_never_measured_firing_rates_are_refused(tmp_path):
    path, *_ = saved(tmp_path, **CASES["cifar"])
    with pytest.raises(CheckpointError, match=r"'layers\.0\.2\.firing_rate_attn' holds a firing rate of 0, .*training"):
        load_model(changed(path, "layers.0.2.firing_rate_attn", torch.zeros(1, 1, 4, 1, 1)))


def test_tensors_that_do_not_fit_are_listed(tmp_path):
    path, *_ = saved(tmp_path, **CASES["cifar"])
    changed(path, "classifier.bias", torch.zeros(10))
    with pytest.raises(CheckpointError, match=r"1 missing: layers\.0\.2\.Wproj\.weight \[16, 16, 1, 1\]; 1 unexpected"):
        load_model(changed(path, "layers.0.2.Wproj.weight", None))
    with pytest.raises(CheckpointError, match=r"missing tensor 'layers\.0\.2\.W\.weight'"):
        load_model(changed(path, "layers.0.2.W.weight", None))


def test_all_but_the_head_compiles_exactly(tmp_path):
    """With neurons before the head, which otherwise averages real values of the stem."""
    graph = ranged(load_model(saved(tmp_path, **CASES["cifar"])[0], settings={"T": "2", "img_size": "32"}))
    pool, neuron = graph.by_name["avgpool"], graph.by_name["layers.0.0.activation_in"].op
    behind = [Node("head.lif", neuron, pool.inputs), replace(pool, inputs=("head.lif",))]
    program = assert_exact(graph.replace_nodes({"avgpool": behind}))
    assert sum(p.kind == "gated" for p in program.network.projections) == 4
