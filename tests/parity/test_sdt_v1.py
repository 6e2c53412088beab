"""An imported Spike-driven Transformer V1 computes what PyTorch computes, with fixed and learned time constants."""

import pytest

from compiler.importers import load_model
from compiler.ir.ops import MatMul, Mul, Neuron
from neurochip.errors import CheckpointError

torch = pytest.importorskip("torch")
from tests.parity.compare_torch import assert_parity, calibrated, saved  # noqa: E402
from tests.parity.sdt_v1_torch import SpikeDrivenTransformer  # noqa: E402

CASES = {
    "four pools": ({"steps": 4, "pools": "1111"}, (3, 48, 48), {"time_steps": 4, "img_size": 48}),
    "cifar": (
        {"steps": 3, "pools": "0011"},
        (3, 16, 16),
        {"time_steps": 3, "pooling_stat": "0011", "img_size": 16, "spike_mode": "lif"},
    ),
    "learned, every step": (
        {"steps": 4, "pools": "0011", "learned": True, "tet": True},
        (3, 16, 16),
        {"time_steps": 4, "pooling_stat": "0011", "img_size": 16, "spike_mode": "plif", "TET": True},
    ),
    "inner shortcut": (
        {"steps": 4, "pools": "0101", "ratio": 1, "heads": 1},
        (3, 16, 16),
        {"time_steps": 4, "pooling_stat": "0101", "img_size": 16},
    ),
    "events": (
        {"steps": 4, "pools": "0111", "channels": 2, "events": True, "learned": True},
        (2, 32, 24),
        {"time_steps": 4, "pooling_stat": "0111", "dvs_mode": True},
    ),
}
SET = {"events": {"img_size": "32x24"}}


def case(name, folder, seed=1):
    """(path, torch model, input)."""
    sizes, shape, args = CASES[name]
    torch.manual_seed(seed)
    model = SpikeDrivenTransformer(**sizes)
    lead = (sizes["steps"], 6) if name == "events" else (6,)
    images = torch.randn(*lead, *shape)
    calibrated(model, images, seed=seed + 1)
    return saved(folder / "sdt.pt", model, args), model, images[..., :2, :, :, :] if name == "events" else images[:2]


@pytest.mark.parametrize("name", CASES)
def test_logits_and_spikes_equal_torch(name, tmp_path):
    path, model, images = case(name, tmp_path)
    graph = assert_parity(path, model, images, settings=SET.get(name))
    assert graph.name == "sdt-v1"
    assert {key.rpartition(".")[0].rpartition(".")[2] for key in graph.ignored} <= {
        "talking_heads",
        "attn_lif",
        "rpe_lif",
    }


def test_the_attention_is_masks_without_products(tmp_path):
    path, _, _ = case("cifar", tmp_path)
    graph = load_model(path)
    assert not graph.of_type(MatMul)
    assert len(graph.of_type(Mul)) == 4
    assert graph.types["block.0.attn.masked"].is_binary
    assert graph.types["block.0.attn.kv_sum"].high == 16


def test_what_the_file_tells_and_what_it_does_not(tmp_path):
    path, model, _ = case("learned, every step", tmp_path)
    graph = load_model(path)
    found = {s.name: (s.value, s.origin) for s in graph.settings}
    assert found["num_heads"] == (4, "tensor shapes")
    assert found["spike_mode"] == ("plif", "tensor shapes")
    assert found["pooling_stat"] == ("0011", "file")
    assert found["v_threshold"] == (1.0, "default")
    assert "tau" not in found
    w = model.head_lif.w.item()
    assert graph.node("head_lif").op == Neuron(tau=pytest.approx(1 + torch.tensor(-w).exp().item(), rel=1e-6))
    assert str(graph.types["head"]) == "real[10]"
    for settings, message in (
        ({"tau": "2"}, "setting 'tau': the file holds a learned time constant for every layer"),
        ({"num_heads": "2"}, "setting 'num_heads' from --set is 2, but the tensors are of num_heads 4"),
        ({"pooling_stat": "0021"}, "setting 'pooling_stat' from --set: expected 0000 or .*, got '0021'"),
        ({"img_size": "18"}, "expected img_size to be divisible by 4, got 18x18"),
    ):
        with pytest.raises(CheckpointError, match=message):
            load_model(path, settings=settings)


def test_a_missing_time_constant_is_named(tmp_path):
    path, model, _ = case("learned, every step", tmp_path)
    state = model.state_dict()
    del state["block.1.attn.k_lif.w"]
    torch.save(state, path)
    with pytest.raises(CheckpointError, match=r"1 missing: block\.1\.attn\.k_lif\.w \[\]$"):
        load_model(path, settings={"pooling_stat": "0011", "img_size": "16"})
