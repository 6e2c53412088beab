"""An imported Spikingformer computes what PyTorch computes, and is never taken for a CML or the other way round."""

import numpy as np
import pytest

from compiler.importers import load_model
from compiler.ir.ops import MaxPool, Neuron
from neurochip.errors import CheckpointError

torch = pytest.importorskip("torch")
from tests.parity.compare_torch import assert_parity, calibrated, saved  # noqa: E402
from tests.parity.spikingformer_torch import Spikingformer  # noqa: E402

CASES = {
    "imagenet": ("proj", {"steps": 4, "pools": 4, "depth": 2}, (3, 48, 48), {"img_size": 48, "time_step": 4}),
    "cifar": ("block", {"steps": 3, "pools": 2}, (3, 16, 16), {"img_size": 16, "time_step": 3}),
    "cifar-cml-keys": ("proj", {"steps": 4, "pools": 2}, (3, 16, 16), {"img_size": 16, "patch_size": 4}),
    "events": ("proj", {"steps": 4, "pools": 4, "channels": 2}, (2, 48, 48), {"img_size": 48, "T": 4}),
}


def case(name, folder, *, cml=False, seed=1):
    """(path, torch model, input)."""
    style, sizes, shape, args = CASES[name]
    torch.manual_seed(seed)
    events = name == "events"
    tau = (1.75 if cml else 1.5) if events else 2.0
    model = Spikingformer(style, cml=cml, tau=tau, **sizes)
    lead = (sizes["steps"], 6) if events else (6,)
    images = torch.randn(*lead, *shape)
    calibrated(model, images, seed=seed + 1)
    path = saved(folder / f"{name}.pt", model, {"num_heads": 4, **args}, prefix="module.")
    return path, model, images[..., :2, :, :, :] if events else images[:2]


@pytest.mark.parametrize("cml", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_logits_and_spikes_equal_torch(name, cml, tmp_path):
    path, model, images = case(name, tmp_path, cml=cml)
    graph = assert_parity(path, model, images, arch="spikingformer-cml" if cml else "spikingformer")
    assert {key.split(".")[-2] for key in graph.ignored} == {"norm1", "norm2"}


def test_the_file_cannot_tell_cml_so_nothing_is_guessed(tmp_path):
    path, _, _ = case("imagenet", tmp_path)
    with pytest.raises(
        CheckpointError, match=r"which one was trained: --arch spikingformer or --arch spikingformer-cml$"
    ):
        load_model(path)
    with pytest.raises(CheckpointError, match=r"missing tensor 'patch_embed\.rpe_conv\.weight'"):
        load_model(path, arch="spikformer-imagenet")


def test_cml_on_the_same_file_pools_currents_and_differs(tmp_path):
    path, _, images = case("imagenet", tmp_path)
    plain, cml = (load_model(path, arch=arch) for arch in ("spikingformer", "spikingformer-cml"))
    for graph, pools_spikes in ((plain, True), (cml, False)):
        pools = graph.of_type(MaxPool)
        assert len(pools) == 4
        assert all(isinstance(graph.producer(node).op, Neuron) == pools_spikes for node in pools)
    difference = plain.run(images.numpy()).logits - cml.run(images.numpy()).logits
    assert np.abs(difference).max() > 1e-3


def test_defaults_follow_the_layout(tmp_path):
    path, _, _ = case("events", tmp_path)
    found = {s.name: (s.value, s.origin) for s in load_model(path, arch="spikingformer-cml").settings}
    assert found["tau"] == (1.75, "default")
    assert found["T"] == (4, "file")
    path, _, _ = case("cifar", tmp_path)
    graph = load_model(path, arch="spikingformer", settings={"T": "2"})
    found = {s.name: (s.value, s.origin) for s in graph.settings}
    assert found["patch_size"] == (4, "default")
    assert found["T"] == (2, "--set")
    assert found["dim"] == (32, "tensor shapes")


def test_faults_are_listed(tmp_path):
    path, model, _ = case("cifar", tmp_path)
    state = model.state_dict()
    del state["block.0.attn.q_bn.bias"]
    state["extra.weight"] = torch.ones(3)
    state["head.bias"] = torch.ones(7)
    torch.save({"model": state}, path)
    with pytest.raises(CheckpointError) as error:
        load_model(path, arch="spikingformer", settings={"num_heads": "4"})
    assert "1 missing: block.0.attn.q_bn.bias [32]" in str(error.value)
    assert "1 unexpected: extra.weight [3]" in str(error.value)
    assert "1 unfit: head.bias: expected [10], got [7]" in str(error.value)


def test_impossible_settings_are_refused(tmp_path):
    path, _, _ = case("cifar", tmp_path)
    for settings, message in (
        ({"num_heads": "5"}, "num_heads 5 does not divide the width 32"),
        ({"patch_size": "3"}, "expected patch_size to be 1, 2, 4, 8 or 16, got 3"),
        ({"img_size": "18"}, "expected img_size to be divisible by 4, got 18x18"),
    ):
        with pytest.raises(CheckpointError, match=message):
            load_model(path, arch="spikingformer", settings=settings)
