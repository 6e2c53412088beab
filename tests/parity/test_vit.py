"""A ViT, and the spiking network that ECMT makes of it, compute what PyTorch computes: logits and spikes by level."""

import argparse

import numpy as np
import pytest

from compiler.importers import load_model
from compiler.ir.ops import MultiThresholdNeuron
from neurochip.errors import CheckpointError

torch = pytest.importorskip("torch")
from tests.parity.vit_torch import Place, ViT  # noqa: E402

torch.set_num_threads(1)  # threads only wait for each other on layers this small

CASES = {
    "as upstream": ({"size": 16, "patch": 4, "width": 24, "heads": 3, "depth": 2}, {}),
    "other levels": (
        {"size": 12, "patch": 6, "width": 16, "heads": 2, "depth": 1},
        {"linear_num": 5, "qkv_num": 4, "softmax_p": 0.05},
    ),
}


def trained(**sizes):
    """(torch model with measured thresholds, images)."""
    torch.manual_seed(9)
    model = ViT(**sizes)
    images = torch.randn(3, 3, sizes["size"], sizes["size"])
    model.train()(images)
    return model.eval(), images


def saved(folder, model, heads, **args):
    path = folder / "vit.pth"
    namespace = argparse.Namespace(
        model="vit_x", num_heads=heads, test_T=6, softmax_num=args.get("linear_num", 8), **args
    )
    torch.save({"model": model.state_dict(), "args": namespace}, path)
    return path


@pytest.mark.parametrize("name", CASES)
def test_logits_and_spikes_of_every_level_equal_torch(name, tmp_path):
    sizes, args = CASES[name]
    model, images = trained(**sizes)
    path = saved(tmp_path, model, sizes["heads"], **args)
    model.double().convert(
        levels=args.get("linear_num", 8), qkv_levels=args.get("qkv_num", 8), softmax=args.get("softmax_p", 0.0125)
    )
    with torch.no_grad():
        logits = model.run(images.double(), 6).numpy()
    graph = load_model(path)
    run = graph.run(images.double().numpy(), record="spikes")
    assert graph.name == "ecmt-vit"
    np.testing.assert_allclose(run.logits, logits, rtol=1e-9, atol=1e-9 * np.abs(logits).max())
    places = {key: module for key, module in model.named_modules() if isinstance(module, Place)}
    assert set(run.spikes) == set(places)
    for key, module in places.items():
        op = graph.node(key).op
        assert isinstance(op, MultiThresholdNeuron)
        np.testing.assert_array_equal(op.level_counts(run.values[key]), module.events, err_msg=key)
        assert run.spikes[key].sum() > 0


def test_the_trained_network_without_thresholds(tmp_path):
    sizes, _ = CASES["as upstream"]
    torch.manual_seed(1)
    model = ViT(**sizes)
    images = torch.randn(2, 3, 16, 16).double()
    path = tmp_path / "ann.pth"
    torch.save({"model": model.state_dict()}, path)
    with torch.no_grad():
        expected = model.double()(images).numpy()
    graph = load_model(path, settings={"model": "vit_tiny"})
    assert graph.name == "vit"
    run = graph.run(images.numpy())
    np.testing.assert_allclose(run.logits, expected, rtol=1e-9, atol=1e-12)
    assert run.spikes == {}


def test_spiking_logits_approach_the_trained_ones(tmp_path):
    sizes, _ = CASES["as upstream"]
    model, images = trained(**sizes)
    path = saved(tmp_path, model, 3)
    with torch.no_grad():
        target = model.double()(images.double()).numpy()
    logits = load_model(path, settings={"T": "32"}).run(images.numpy()).logits
    errors = [np.abs(logits[t] / (t + 1) - target).max() for t in (0, 31)]
    assert errors[1] < 0.2 * errors[0]


def test_thresholds_that_upstream_overrides_are_ignored_by_name(tmp_path):
    sizes, _ = CASES["as upstream"]
    graph = load_model(saved(tmp_path, trained(**sizes)[0], 3))
    assert graph.ignored == tuple(
        f"blocks.{i}.{place}.scale_{sign}"
        for i in (0, 1)
        for place in ("attn.attn_out_test", "mlp.x2_in_test")
        for sign in "pn"
    )
    found = {setting.name: (setting.value, setting.origin) for setting in graph.settings}
    assert found["img_size"] == ((16, 16), "tensor shapes")
    assert found["T"] == (6, "file")
    assert found["fc2_p"] == (0.25, "default")


def test_misfits_are_refused(tmp_path):
    sizes, _ = CASES["as upstream"]
    model, _ = trained(**sizes)
    path = saved(tmp_path, model, 3)
    with pytest.raises(CheckpointError, match="num_heads 5 does not divide the width 24"):
        load_model(path, settings={"num_heads": "5"})
    with pytest.raises(CheckpointError, match=r"setting 'img_size' from --set is \(32, 32\), but"):
        load_model(path, settings={"img_size": "32"})
    file = torch.load(path, weights_only=False)
    del file["model"]["blocks.1.attn.k_out_test.scale_p"]
    torch.save(file, path)
    with pytest.raises(CheckpointError, match=r"1 missing: blocks\.1\.attn\.k_out_test\.scale_p \[1\]"):
        load_model(path)
