"""An imported QKFormer computes what PyTorch computes, in three file layouts."""

import numpy as np
import pytest

from compiler.importers import load_model
from compiler.ir.ops import MaxPool, Neuron, SerialNeuron
from neurochip.errors import CheckpointError

torch = pytest.importorskip("torch")
from tests.parity.compare_torch import assert_parity, calibrated, saved  # noqa: E402
from tests.parity.qkformer_torch import QKFormer  # noqa: E402

CASES = {
    "imagenet": ({"steps": 3}, (3, 64, 64), {"time_step": 3, "input_size": 64}, {"num_heads": "4"}),
    "cifar": ({"steps": 4, "heads": 8}, (3, 16, 16), {"time_step": 4, "img_size": 16, "num_heads": 2}, None),
    "dvs": ({"steps": 4, "channels": 2}, (2, 48, 48), {"T": 4}, {"num_heads": "4", "img_size": "48"}),
}


def case(name, folder, seed=1):
    """(path, torch model, input, settings)."""
    sizes, shape, args, settings = CASES[name]
    torch.manual_seed(seed)
    model = QKFormer(name, **sizes)
    lead = (sizes["steps"], 6) if name == "dvs" else (6,)
    images = torch.randn(*lead, *shape)
    calibrated(model, images, seed=seed + 1)
    path = saved(folder / f"{name}.pt", model, args, wrapper="model")
    return path, model, images[..., :2, :, :, :] if name == "dvs" else images[:2], settings


@pytest.mark.parametrize("name", CASES)
def test_logits_and_spikes_equal_torch(name, tmp_path):
    path, model, images, settings = case(name, tmp_path)
    graph = assert_parity(path, model, images, settings=settings)
    assert graph.name == f"qkformer-{name}"
    assert graph.ignored == ()
    assert not any(isinstance(graph.producer(node).op, Neuron) for node in graph.of_type(MaxPool))


def test_one_image_at_a_time_the_serial_batch_makes_no_difference(tmp_path):
    path, _, images, settings = case("imagenet", tmp_path)
    serial, plain = (load_model(path, settings={**settings, "serial_batch": flag}) for flag in ("true", "false"))
    assert len(serial.of_type(SerialNeuron)) == 1
    assert not plain.of_type(SerialNeuron)
    x = images.numpy()
    np.testing.assert_array_equal(serial.run(x[:1]).logits, plain.run(x[:1]).logits)
    assert np.abs(serial.run(x).logits - plain.run(x).logits)[1].max() > 0


def test_heads_are_upstreams(tmp_path):
    path, _, _, _ = case("imagenet", tmp_path)
    found = {s.name: (s.value, s.origin) for s in load_model(path).settings}
    assert found["num_heads"] == (1, "default")  # 64 channels a head
    assert found["img_size"] == ((64, 64), "file")
    assert found["dims"] == ((16, 32, 64), "tensor shapes")
    path, _, _, _ = case("cifar", tmp_path)
    found = {s.name: (s.value, s.origin) for s in load_model(path).settings}
    assert found["num_heads"] == (8, "default")  # upstream's CIFAR code overrides its own command line


def test_faults_are_listed(tmp_path):
    path, model, _, _ = case("cifar", tmp_path)
    state = model.state_dict()
    del state["stage3.1.ssa.q_bn.bias"]
    state["stage1.0.tssa.v_conv.weight"] = torch.ones(3)
    torch.save({"model": state}, path)
    with pytest.raises(CheckpointError) as error:
        load_model(path)
    assert "1 missing: stage3.1.ssa.q_bn.bias [64]" in str(error.value)
    assert "1 unexpected: stage1.0.tssa.v_conv.weight [3]" in str(error.value)
    with pytest.raises(CheckpointError, match="expected img_size to be divisible by 2, got 15x15"):
        load_model(path, settings={"img_size": "15"})
    with pytest.raises(CheckpointError, match="num_heads 3 does not divide the width 16"):
        load_model(path, settings={"num_heads": "3"})
