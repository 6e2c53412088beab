"""Imported SEW-ResNets and MS-ResNets compute what PyTorch computes."""

import numpy as np
import pytest

from compiler.importers import find_family, load_model
from compiler.ir.ops import AndNot, AvgPool, Mul, Neuron
from neurochip.errors import CheckpointError

torch = pytest.importorskip("torch")
from tests.parity.compare_torch import assert_parity, calibrated, saved  # noqa: E402
from tests.parity.resnet_torch import ModuleContainer, MSResNet, SEWResNet  # noqa: E402

SEW = {
    "add": {"rule": "ADD"},
    "and, module": {"rule": "AND", "container": ModuleContainer},
    "iand": {"rule": "IAND"},
    "bottleneck iand, module": {"rule": "IAND", "bottleneck": True, "container": ModuleContainer},
    "bottleneck add": {"rule": "ADD", "bottleneck": True},
}


def sew(name, folder, seed=1):
    torch.manual_seed(seed)
    model = SEWResNet(**SEW[name])
    images = torch.randn(4, 3, 32, 32)
    calibrated(model, images, seed=seed + 1)
    args = {"T": 4, "connect_f": SEW[name]["rule"].lower(), "img_size": None}
    return saved(folder / "sew.pt", model, args, wrapper="model"), model, images[:2]


@pytest.mark.parametrize("name", SEW)
def test_sew_logits_and_spikes_equal_torch(name, tmp_path):
    path, model, images = sew(name, tmp_path)
    graph = assert_parity(path, model, images, settings={"img_size": "32"})
    assert graph.name == "sew-resnet"
    assert all(neuron.op == Neuron(tau=None) for neuron in graph.of_type(Neuron))


def test_the_file_does_not_tell_how_spikes_are_joined(tmp_path):
    path, model, _ = sew("add", tmp_path)
    torch.save(model.state_dict(), path)
    settings = {"img_size": "32"}
    graph = load_model(path, settings=settings)
    found = {s.name: (s.value, s.origin) for s in graph.settings}
    assert found["connect_f"] == ("ADD", "default")
    assert found["depths"] == ((2, 1, 1, 1), "tensor shapes")
    assert graph.types["layer1.1.connect"].high == 3
    assert len(load_model(path, settings={**settings, "connect_f": "IAND"}).of_type(AndNot)) == 5
    assert len(load_model(path, settings={**settings, "connect_f": "and"}).of_type(Mul)) == 5
    lif = load_model(path, settings={**settings, "neuron": "LIF", "reset": "soft"}).node("sn1").op
    assert lif == Neuron(tau=2.0, reset="soft")
    with pytest.raises(CheckpointError, match="expected ADD or AND or IAND, got 'OR'"):
        load_model(path, settings={"connect_f": "OR"})


def test_spikingjellys_names_are_those_of_any_resnet_and_must_be_asked_for(tmp_path):
    path, model, images = sew("add", tmp_path)
    state = {}
    for key, value in model.state_dict().items():
        if key.startswith("layer"):
            stage, block, conv, *rest = key.split(".")
            if conv == "downsample":
                key = f"{stage}.{block}.downsample.{'.'.join(rest[1:])}"
            else:
                key = f"{stage}.{block}.{conv if rest[0] == '0' else conv.replace('conv', 'bn')}.{rest[1]}"
        state[key] = value
    torch.save(state, path)
    with pytest.raises(CheckpointError, match="of no known architecture"):
        load_model(path)
    graph = load_model(path, arch="sew-resnet-spikingjelly", settings={"img_size": "32"})
    with torch.no_grad():
        logits = model.double()(images.double()).numpy()
    np.testing.assert_allclose(graph.run(images.double().numpy()).logits, logits, rtol=1e-9)
    assert "layer2.0.downsample_sn" in graph.by_name


def test_missing_sew_tensors_are_named(tmp_path):
    path, model, _ = sew("bottleneck add", tmp_path)
    state = model.state_dict()
    del state["layer3.0.downsample.0.1.bias"]
    torch.save(state, path)
    with pytest.raises(CheckpointError, match=r"1 missing: layer3\.0\.downsample\.0\.1\.bias \[128\]$"):
        load_model(path, settings={"img_size": "32"})


@pytest.mark.parametrize("deep", [False, True])
def test_ms_logits_and_spikes_equal_torch(deep, tmp_path):
    torch.manual_seed(1)
    model = MSResNet(deep=deep)
    images = torch.randn(4, 3, 64, 64)
    calibrated(model, images, seed=2)
    path = tmp_path / "ms.pt"
    torch.save({f"module.{key}": value for key, value in model.state_dict().items()}, path)
    graph = assert_parity(path, model, images[:2], settings={"img_size": "64"})
    assert graph.name == "ms-resnet"
    assert len(graph.of_type(AvgPool)) == (4 if deep else 0)
    assert graph.node("mem_update").op == Neuron(tau=4 / 3, decay_input=False, threshold=0.5, fires="gt")
    found = {s.name: (s.value, s.origin) for s in graph.settings}
    assert found["T"] == (6, "default")


def test_impossible_decays_are_refused():
    from compiler.importers.ms_resnet import MS_RESNET
    from compiler.importers.options import Options

    with pytest.raises(CheckpointError, match=r"expected decay in 0\.\.1, 1 excluded, got 1\.0"):
        MS_RESNET.build({}, Options(MS_RESNET.options, {}, {"decay": "1"}))
    assert find_family({"conv2_x.0.residual_function.1.weight": np.ones(1), "fc.weight": np.ones(1)}) is MS_RESNET
