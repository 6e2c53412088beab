"""An imported Spikformer V2 computes what PyTorch computes, with both residuals, and has the paper's size."""

import numpy as np
import pytest

from compiler.importers import find_family, load_model
from compiler.importers.options import Options
from compiler.ir.ops import AndNot, MaxPool, Neuron

torch = pytest.importorskip("torch")
from tests.parity.compare_torch import assert_parity, calibrated, saved  # noqa: E402
from tests.parity.spikformer_v2_torch import SpikformerV2  # noqa: E402

CASES = {
    "add": ({"steps": 4}, {}),
    "iand": ({"steps": 4, "depth": 2, "rule": "IAND"}, {"connect_f": "IAND"}),
    "stem with residual and bias": (
        {"steps": 1, "rule": "IAND", "stem_rule": "IAND", "bias": True, "ratio": 2},
        {"residual": "iand", "stem_residual": "IAND"},
    ),
    "stem of counts": ({"steps": 2, "stem_rule": "ADD"}, {"stem_residual": "ADD"}),
}


def case(name, folder, seed=1):
    sizes, args = CASES[name]
    torch.manual_seed(seed)
    model = SpikformerV2(**sizes)
    images = torch.randn(4, 3, 48, 48)
    calibrated(model, images, seed=seed + 1)
    args = {"num_heads": 4, "T": sizes["steps"], "img_size": 48, **args}
    return saved(folder / "v2.pt", model, args), model, images[:2]


@pytest.mark.parametrize("name", CASES)
def test_logits_and_spikes_equal_torch(name, tmp_path):
    path, model, images = case(name, tmp_path)
    graph = assert_parity(path, model, images)
    assert graph.name == "spikformer-v2"
    assert not graph.of_type(MaxPool)


def test_with_iand_every_value_between_layers_is_binary(tmp_path):
    path, _, _ = case("iand", tmp_path)
    graph = load_model(path)
    assert len(graph.of_type(AndNot)) == 4
    assert all(graph.types[node.name].is_binary for node in graph.of_type(AndNot, Neuron))
    assert load_model(path, settings={"residual": "ADD"}).types["block.1.mlp_add"].high == 5


@pytest.mark.parametrize(("depth", "dim", "millions"), [(8, 384, 29.11), (8, 512, 51.55)])
def test_the_paper_counts_the_same_parameters(depth, dim, millions):
    """Table 2 of arXiv:2401.02020."""
    shapes = {"head.weight": (1000, dim), "head.bias": (1000,)}

    def layer(name, *shape, bias=False):
        shapes[f"{name}_conv.weight"] = shape
        norm = f"{name}_bn"
        shapes.update({f"{norm}.{key}": shape[:1] for key in ("weight", "bias", "running_mean", "running_var")})
        if bias:
            shapes[f"{name}_conv.bias"] = shape[:1]

    widths = [3, dim // 8, dim // 4, dim // 2, dim]
    for i in range(4):
        c = widths[i + 1]
        layer(f"patch_embed.stage{i}.down", c, widths[i], 2, 2)
        layer(f"patch_embed.stage{i}.fc1", 4 * c, c, 3, 3)
        layer(f"patch_embed.stage{i}.fc2", c, 4 * c, 3, 3)
    for i in range(depth):
        for name in "qkv":
            layer(f"block.{i}.attn.{name}", dim, dim, 1)
        layer(f"block.{i}.attn.proj", dim, dim, 1, bias=True)
        layer(f"block.{i}.mlp.fc1", 4 * dim, dim, 1, 1, bias=True)
        layer(f"block.{i}.mlp.fc2", dim, 4 * dim, 1, 1, bias=True)
    tensors = {key: np.broadcast_to(np.float32(1), shape) for key, shape in shapes.items()}
    family = find_family(tensors)
    graph = family.build(tensors, Options(family.options, {}))
    assert graph.types["head"].shape == (1000,)
    learned = [np.prod(shape) for key, shape in shapes.items() if "running" not in key]
    assert sum(learned) / 1e6 == pytest.approx(millions, abs=0.005)
