"""An imported Spikformer computes what PyTorch computes: logits to 1e-9 and every spike of every layer."""

import argparse

import numpy as np
import pytest

from compiler.importers import load_model
from compiler.ir.text import graph_constants, parse_graph, print_graph

torch = pytest.importorskip("torch")
from tests.parity.spikformer_torch import LIF, Spikformer, calibrated  # noqa: E402

CASES = {
    "cifar": ("spikformer-cifar", {"steps": 4}, (3, 16, 16), {"time_step": 4, "num_heads": 4, "img_size": 16}),
    "digits": (
        "spikformer-cifar",
        {"steps": 3, "channels": 1},
        (1, 16, 16),
        {"T": 3, "num_heads": 4, "img_size": 16, "patch_size": 4},
    ),
    "cml": ("spikformer-cml", {"steps": 4}, (3, 16, 16), {"time_step": 4, "num_heads": 4, "img_size": 16}),
    "imagenet": ("spikformer-imagenet", {"steps": 4, "heads": 2}, (3, 48, 48), {"img_size": 48}),
    "dvs": ("spikformer-dvs", {"steps": 5, "channels": 2, "heads": 2, "tokens": 9}, (2, 48, 48), {"T": 5}),
}
SET = {"imagenet": {"num_heads": "2"}, "dvs": {"num_heads": "2", "img_size": "48x48"}}


def saved(name, folder):
    """(path, torch model in float64, input) of one case; the file is float32, as a trainer writes it."""
    layout, sizes, shape, args = CASES[name]
    torch.manual_seed(1)
    model = Spikformer(layout, **sizes)
    lead = (sizes["steps"], 6) if name == "dvs" else (6,)
    images = torch.randn(*lead, *shape)
    calibrated(model, images, seed=2)
    state = {f"module.{key}": tensor for key, tensor in model.state_dict().items()}
    path = folder / f"{name}.pt"
    torch.save({"epoch": 3, "state_dict": state, "args": argparse.Namespace(**args, model="spikformer")}, path)
    images = images[..., :3, :, :, :].double() if name == "dvs" else images[:3].double()
    return path, model.double(), images


@pytest.mark.parametrize("name", CASES)
def test_logits_and_spikes_equal_torch(name, tmp_path):
    path, model, images = saved(name, tmp_path)
    with torch.no_grad():
        logits = model(images).numpy()
    run = load_model(path, settings=SET.get(name)).run(images.numpy(), record="spikes")
    np.testing.assert_allclose(run.logits, logits, rtol=1e-9, atol=1e-9 * np.abs(logits).max())
    neurons = {key: module for key, module in model.named_modules() if isinstance(module, LIF)}
    assert set(run.spikes) == set(neurons)
    for key, module in neurons.items():
        expected = module.spikes.flatten(2).sum(2).numpy()
        np.testing.assert_array_equal(run.spikes[key], expected, err_msg=key)
        assert expected.sum() > 0, f"{key} is silent: the test shows nothing"


def test_spikes_stand_where_torch_puts_them(tmp_path):
    path, model, images = saved("cifar", tmp_path)
    with torch.no_grad():
        model(images)
    values = load_model(path).run(images.numpy(), record="spikes").values
    for key, module in model.named_modules():
        if isinstance(module, LIF):
            np.testing.assert_array_equal(values[key], module.spikes.numpy(), err_msg=key)


def test_the_text_form_of_an_imported_model_computes_the_same(tmp_path):
    path, _, images = saved("digits", tmp_path)
    graph = load_model(path)
    text = print_graph(graph)
    back = parse_graph(text, graph_constants(graph))
    assert print_graph(back) == text
    np.testing.assert_array_equal(back.run(images.numpy()).logits, graph.run(images.numpy()).logits)
