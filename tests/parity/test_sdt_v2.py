"""An imported Spike-driven Transformer V2 computes what PyTorch computes, with RepConv kept or merged."""

import argparse

import numpy as np
import pytest

from compiler.importers import load_model
from compiler.ir.ops import Conv2d
from compiler.ir.text import graph_constants, parse_graph, print_graph
from neurochip.errors import CheckpointError

torch = pytest.importorskip("torch")
from tests.parity.metaformer_torch import MetaSpikeFormer  # noqa: E402
from tests.parity.spikformer_torch import LIF, calibrated  # noqa: E402

torch.set_num_threads(1)  # threads only wait for each other on layers this small

SIZES = {"widths": (8, 12, 16, 20), "heads": 2}
CASES = {
    "T=4, distilled": ({"steps": 4, "distilled": True}, {}),
    "T=1": ({"steps": 1}, {}),
    "merged": ({"steps": 2, "ratio": 2}, {"rep_conv": "merged"}),
    "all merged": ({"steps": 2, "blocks": (1, 3)}, {"rep_conv": "merged", "sep_conv": "merged"}),
    "SDSA-1": ({"steps": 3, "kind": 1}, {"sdsa": "1"}),
    "SDSA-2": ({"steps": 3, "kind": 2}, {"sdsa": "2"}),
    "SDSA-4": ({"steps": 3, "kind": 4, "channels": 2}, {"sdsa": "4"}),
}


def saved(folder, image=(64, 48), **sizes):
    """(path, torch model in float64, images) of a small model, saved as upstream's trainer does."""
    torch.manual_seed(3)
    model = MetaSpikeFormer(**SIZES, **sizes)
    images = torch.randn(4, sizes.get("channels", 3), *image)
    calibrated(model, images, seed=4)
    path = folder / "checkpoint-7.pth"
    args = argparse.Namespace(model="metaspikformer_8_512", time_steps=sizes["steps"], batch_size=2)
    torch.save({"model": model.state_dict(), "optimizer": {}, "epoch": 7, "scaler": {}, "args": args}, path)
    return path, model.double(), images[:2].double()


@pytest.mark.parametrize("name", CASES)
def test_logits_and_spikes_equal_torch(name, tmp_path):
    sizes, settings = CASES[name]
    path, model, images = saved(tmp_path, **sizes)
    with torch.no_grad():
        logits = model(images).numpy()
    graph = load_model(path, settings={"num_heads": "2", "img_size": "64x48", **settings})
    run = graph.run(images.numpy())
    assert graph.timesteps == sizes["steps"]
    np.testing.assert_allclose(run.logits, logits, rtol=1e-9, atol=1e-9 * np.abs(logits).max())
    neurons = {key: module for key, module in model.named_modules() if isinstance(module, LIF)}
    assert set(run.spikes) == set(neurons)
    for key, module in neurons.items():
        np.testing.assert_array_equal(run.spikes[key], module.spikes.flatten(2).sum(2).numpy(), err_msg=key)
    silent = [key for key, counts in run.spikes.items() if counts.sum() == 0]
    assert len(silent) < 2, f"silent layers show nothing: {silent}"


def test_merging_leaves_neurons_between_all_layers_of_the_blocks(tmp_path):
    path, *_ = saved(tmp_path, steps=1)
    settings = {"num_heads": "2", "img_size": "64x48", "rep_conv": "merged", "sep_conv": "merged"}
    graph = load_model(path, settings=settings)
    inputs = [graph.type_of(node.inputs[0]) for node in graph.of_type(Conv2d)]
    assert [kind.is_binary for kind in inputs] == [False, *[True] * (len(inputs) - 1)]


def test_the_text_form_keeps_merged_weights(tmp_path):
    path, _, images = saved(tmp_path, steps=1)
    graph = load_model(path, settings={"num_heads": "2", "img_size": "64x48", "rep_conv": "merged"})
    text = print_graph(graph)
    back = parse_graph(text, graph_constants(graph))
    assert print_graph(back) == text
    np.testing.assert_array_equal(back.run(images.numpy()).logits, graph.run(images.numpy()).logits)


def test_settings_say_where_they_come_from(tmp_path):
    path, *_ = saved(tmp_path, steps=2)
    graph = load_model(path, settings={"num_heads": "2", "img_size": "64x48"})
    found = {setting.name: (setting.value, setting.origin) for setting in graph.settings}
    assert found["T"] == (2, "file")
    assert found["num_heads"] == (2, "--set")
    assert found["rep_conv"] == ("kept", "default")
    assert found["embed_dim"] == ((8, 12, 16, 20), "tensor shapes")
    assert found["depths"] == ((2, 1), "tensor shapes")


def changed(path, change):
    file = torch.load(path, weights_only=False)
    change(file["model"])
    torch.save(file, path)
    return path


def test_tensors_that_do_not_fit_are_listed(tmp_path):
    settings = {"num_heads": "2", "img_size": "64x48"}
    path, *_ = saved(tmp_path, steps=1)

    def change(state):
        del state["block3.1.attn.v_conv.0.body.2.0.weight"]
        state["block3.0.mlp.extra"] = torch.ones(2)
        state["head.bias"] = torch.ones(3)

    message = (
        r"do not fit sdt-v2; 1 missing: block3\.1\.attn\.v_conv\.0\.body\.2\.0\.weight \[16, 1, 3, 3\]; "
        r"1 unexpected: block3\.0\.mlp\.extra \[2\]; 1 unfit: head\.bias: expected \[10\], got \[3\]$"
    )
    with pytest.raises(CheckpointError, match=message):
        load_model(changed(path, change), settings=settings)


def test_impossible_settings_are_refused(tmp_path):
    path, *_ = saved(tmp_path, steps=1)
    with pytest.raises(CheckpointError, match=r"num_heads 8 does not divide the width 20; .* --set num_heads=COUNT"):
        load_model(path)
    with pytest.raises(CheckpointError, match=r"expected .*kept.*merged, got 'half'"):
        load_model(path, settings={"rep_conv": "half"})
    with pytest.raises(CheckpointError, match="SDSA-2 has q and one of them"):
        load_model(path, settings={"num_heads": "2", "sdsa": "2"})
    with pytest.raises(CheckpointError, match=r"3 missing: block3\.0\.attn\.attn_lif\.v_threshold \[\]"):
        load_model(path, settings={"num_heads": "2", "sdsa": "4"})
