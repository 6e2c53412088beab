"""Imported stacks (VGG, CNN, MLP) and SEW-ResNets for event cameras compute what PyTorch computes."""

import numpy as np
import pytest

from compiler.importers import load_model
from compiler.importers.stack_words import Module, parse_words, place_names, proposal
from compiler.ir.graph import Setting
from compiler.ir.ops import AvgPool, MaxPool, Neuron
from neurochip.errors import CheckpointError

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

from tests.parity.compare_torch import assert_parity, calibrated  # noqa: E402
from tests.parity.resnet_torch import IF, Container, ModuleContainer, in_order  # noqa: E402
from tests.parity.sdt_v1_torch import PLIF  # noqa: E402
from tests.parity.spikformer_torch import LIF, over_steps  # noqa: E402


class Net(nn.Module):
    """Sequences one after the other on images (B, ...) repeated T times; mean over steps."""

    def __init__(self, steps=4, **parts):
        super().__init__()
        self.steps = steps
        for name, layers in parts.items():
            setattr(self, name, nn.Sequential(*layers))

    def forward(self, x):
        x = x.expand(self.steps, *x.shape)
        for name, part in self.named_children():
            x = over_steps(lambda y: nn.functional.adaptive_avg_pool2d(y, 7), x) if name == "classifier" else x
            x = in_order([nn.Flatten()], x) if name == "classifier" else x
            x = in_order(part, x)
        return x.mean(0)


def conv(inputs, outputs, neuron, *, norm=True, pool=True):
    layers = [nn.Conv2d(inputs, outputs, 3, padding=1, bias=not norm)]
    layers += [nn.BatchNorm2d(outputs)] if norm else []
    return [*layers, neuron(), *([nn.MaxPool2d(2)] if pool else [])]


def strong(inputs, outputs, bias=True):
    linear = nn.Linear(inputs, outputs, bias=bias)
    with torch.no_grad():
        linear.weight.mul_(5)
    return linear


def save(path, model, images):
    calibrated(model, images, seed=3)
    torch.save({"net": model.state_dict()}, path)
    return path


CNN = "conv:p1 bn sn maxpool:k2 conv:p1 bn sn maxpool:k2 flatten linear sn linear sn"


@pytest.mark.parametrize(("neuron", "settings"), [(IF, {"neuron": "if"}), (PLIF, {}), (LIF, {"neuron": "LIF"})])
def test_a_cnn_whose_layers_are_said_equals_torch(neuron, settings, tmp_path):
    torch.manual_seed(1)
    make = (lambda: PLIF(1.0)) if neuron is PLIF else neuron
    tail = [nn.Flatten(), strong(16, 12, bias=False), make(), strong(12, 5, bias=False), make()]
    model = Net(conv_fc=[*conv(1, 4, make), *conv(4, 4, make), *tail])
    images = torch.randn(8, 1, 8, 8)
    path = save(tmp_path / "cnn.pt", model, images)
    graph = assert_parity(path, model, images[:4], settings={"layers": CNN, "img_size": "8", **settings})
    assert graph.name == "stack"
    assert Setting("num_classes", 5, "tensor shapes") in graph.settings
    assert Setting("img_size", (8,), "--set") in graph.settings


def test_an_mlp_takes_its_input_from_its_first_matrix(tmp_path):
    torch.manual_seed(1)
    model = Net(layer=[strong(9, 6), LIF(), strong(6, 4), LIF()], steps=3)
    images = torch.randn(5, 9)
    path = save(tmp_path / "mlp.pt", model, images)
    settings = {"layers": "linear lif linear lif", "T": "3"}
    assert_parity(path, model, images, settings=settings)
    every = load_model(path, settings={**settings, "readout": "steps"}).run(images.numpy()).logits
    total = load_model(path, settings={**settings, "readout": "sum"}).run(images.numpy()).logits
    assert every.shape == (3, 5, 4)
    np.testing.assert_allclose(every.sum(0), total)


@pytest.mark.parametrize(("norm", "size"), [(True, 28), (False, 32), (True, 20)])
def test_a_vgg_tells_its_layers(norm, size, tmp_path):
    torch.manual_seed(2)
    features = [
        *conv(3, 4, IF, norm=norm),
        *conv(4, 6, IF, norm=norm, pool=False),
        *conv(6, 6, IF, norm=norm),
    ]
    with torch.no_grad():
        for layer in features:
            if isinstance(layer, nn.Conv2d):
                layer.weight.mul_(1 if norm else 4)
    classifier = [strong(294, 16), IF(), nn.Dropout(), strong(16, 16), IF(), nn.Dropout(), strong(16, 7)]
    model = Net(features=features, classifier=classifier)
    images = torch.randn(4, 3, size, size)
    path = save(tmp_path / "vgg.pt", model, images)
    graph = assert_parity(path, model, images, settings={"img_size": str(size), "neuron": "IF"})
    assert graph.name == "spiking-vgg"
    layers = next(s for s in graph.settings if s.name == "layers")
    assert layers.origin == "tensor shapes"
    assert layers.value.count("maxpool:k2") == 2
    assert bool(graph.of_type(AvgPool)) == (size == 28)


def test_layers_that_the_file_does_not_tell_are_proposed_and_not_taken(tmp_path):
    torch.manual_seed(1)
    tail = [nn.Flatten(), strong(16, 12), IF(), strong(12, 5)]
    path = save(tmp_path / "cnn.pt", Net(conv_fc=[*conv(1, 4, IF), *conv(4, 4, IF), *tail]), torch.randn(4, 1, 8, 8))
    with pytest.raises(CheckpointError) as error:
        load_model(path)
    words = "conv:p1 bn sn maxpool:k2 conv:p1 bn sn maxpool:k2 flatten linear sn linear"
    assert str(error.value).endswith(f'say it with --set layers="...", for instance "{words}"')
    for settings, message in (
        ({"layers": "conv relu"}, "'relu' is no layer; the layers are conv, linear, bn, sn, "),
        ({"layers": "conv:k3"}, "expected conv such as conv:s1p1g1, got 'conv:k3'"),
        ({"layers": "maxpool"}, "expected a kernel such as maxpool:k2, got 'maxpool'"),
        ({"layers": "gap:x"}, "expected a number up to 64 such as gap:7, got 'gap:x'"),
        ({"layers": "linear"}, r"at word 1, linear, 'conv_fc\.0' is a conv"),
        ({"layers": "conv bn"}, r"no word is left for 'conv_fc\.4', a conv"),
        ({"layers": f"{words} linear"}, "at word 13, linear, the file has no more tensors"),
        ({"layers": words}, "does not tell the size of its images; say it with --set input_shape=1xHEIGHTxWIDTH"),
        (
            {"layers": words, "img_size": "12"},
            r"layer 'conv_fc\.9' \(linear\) does not fit what comes before: expected .* 16\), got \(36,\)",
        ),
    ):
        with pytest.raises(CheckpointError, match=message):
            load_model(path, settings=settings)


@pytest.mark.parametrize(
    ("paths", "text", "names"),
    [
        (("f.0:conv", "f.1:bn", "f.4:conv"), "conv bn sn maxpool:k2 conv sn", "f.0 f.1 f.2 f.3 f.4 f.5"),
        (("f.0.0:conv", "f.0.1:bn", "f.2.0:conv"), "conv bn sn conv", "f.0.0 f.0.1 f.1 f.2.0"),
        (("f.0.module.0:conv", "f.2.module.0:conv"), "conv sn conv", "f.0.module.0 f.1 f.2.module.0"),
        (("f.1:linear",), "flatten linear sn", "f.0 f.1 f.2"),
        (("f.0:conv", "f.1:lif", "g.0:linear"), "conv sn flatten linear", "f.0 f.1 f.2 g.0"),
        (("f.0:conv", "f.5:conv"), "conv sn conv", "f.0 f.0.sn f.5"),
    ],
)
def test_neurons_are_called_as_the_modules_they_were(paths, text, names):
    modules = [
        Module(path=p, kind=k, shape=(4, 4, 3, 3) if k == "conv" else (4, 4)) for p, k in (q.split(":") for q in paths)
    ]
    assert place_names(parse_words(text), modules) == tuple(names.split())


def test_a_proposal_reads_the_free_numbers():
    shapes = {"conv": (4, 4, 5, 5), "linear": (4, 4)}
    kinds = {"0": "conv", "2": "conv", "6": "linear", "8": "linear"}
    modules = [Module(path=f"net.{n}", kind=k, shape=shapes[k]) for n, k in kinds.items()]
    assert proposal(modules) == "conv:p2 sn conv:p2 sn maxpool:k2 flatten linear sn linear"


class Block(nn.Module):
    def __init__(self, channels, rule, container):
        super().__init__()
        self.rule = rule
        layers = [
            nn.Sequential(
                container(nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels)), PLIF()
            )
            for _ in range(2)
        ]
        self.conv = nn.Sequential(*layers)

    def forward(self, x):
        y = self.conv(x)
        return {"ADD": x + y, "AND": x * y, "IAND": x * (1 - y), "none": y}[self.rule]


class Events(nn.Module):
    """Frames (T, B, 2, 8, 8) -> logits."""

    def __init__(self, rule, container):
        super().__init__()
        lift = container(nn.Conv2d(2, 8, 1, bias=False), nn.BatchNorm2d(8))
        wide = container(nn.Conv2d(8, 12, 3, padding=1, bias=False), nn.BatchNorm2d(12))
        self.conv = nn.Sequential(
            nn.Sequential(lift, PLIF()),
            Block(8, rule, container),
            Container(nn.MaxPool2d(2)),
            nn.Sequential(wide, PLIF()),
            Block(12, rule, container),
            Container(nn.MaxPool2d(2)),
            nn.Flatten(2),
        )
        self.out = nn.Linear(12 * 4, 10)

    def forward(self, x):
        return self.out(self.conv(x).mean(0))


@pytest.mark.parametrize("container", [Container, ModuleContainer])
@pytest.mark.parametrize("rule", ["ADD", "IAND", "none"])
def test_a_sew_resnet_for_events_equals_torch(rule, container, tmp_path):
    torch.manual_seed(1)
    model = Events(rule, container)
    frames = torch.randn(4, 6, 2, 8, 8)
    path = save(tmp_path / "events.pt", model, frames)
    settings = {"T": "4", "connect_f": rule, "img_size": "8"}
    graph = assert_parity(path, model, frames[:, :3], settings=settings)
    assert graph.name == "sew-resnet-dvs"
    assert [node.name for node in graph.of_type(MaxPool)] == ["conv.2", "conv.5"]
    assert all(node.op.tau != 2.0 for node in graph.of_type(Neuron))
    with pytest.raises(CheckpointError, match="the last layer has 48 inputs, but 12 channels of 1x1 positions"):
        load_model(path, settings={**settings, "img_size": "7"})


def test_stacks_by_name_refuse_what_is_none(tmp_path):
    torch.save({"a": torch.ones(3)}, tmp_path / "x.pt")
    for arch in ("stack", "spiking-vgg"):
        with pytest.raises(CheckpointError, match="expected weights of convolutions and linear layers"):
            load_model(tmp_path / "x.pt", arch=arch)
    torch.save({"0.weight": torch.ones(2, 1, 3, 3), "3.weight": torch.ones(4, 98)}, tmp_path / "x.pt")
    settings = {"layers": "conv:p1 sn gap:7 flatten linear", "img_size": "129"}
    with pytest.raises(CheckpointError, match="gap:7 of 129x129 positions, which 7 does not divide"):
        load_model(tmp_path / "x.pt", settings=settings)
    with pytest.raises(CheckpointError, match='for instance "conv:p1 sn flatten linear"'):
        load_model(tmp_path / "x.pt", arch="spiking-vgg")
    with pytest.raises(CheckpointError, match=r"missing tensors 'conv\.0"):
        load_model(tmp_path / "x.pt", arch="sew-resnet-dvs")
