"""NIR files of the exporters of snnTorch, SpikingJelly, Norse, Sinabs and Rockpool: every output is the framework's."""

import warnings

import numpy as np
import pytest

from compiler.importers import load_model
from compiler.ir.ops import Feedback

torch = pytest.importorskip("torch")
h5py = pytest.importorskip("h5py")
from torch import nn  # noqa: E402

torch.set_num_threads(1)
STEPS = 12


@pytest.fixture(autouse=True)
def quiet():
    torch.manual_seed(5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the frameworks, about themselves
        yield


def write(path, graph):
    """As ``nir.write``, which cannot store arrays without axes, tensors and None."""

    def fill(group, values):
        for key, value in values.items():
            if isinstance(value, dict):
                fill(group.create_group(key), value)
            elif isinstance(value, torch.Tensor):
                group[key] = value.detach().numpy()
            elif value is not None:
                group[key] = [(str(a), str(b)) for a, b in value] if key == "edges" else value

    with h5py.File(path, "w") as file:
        file["version"] = "1.0.8"
        fill(file.create_group("node"), graph.to_dict())
    return path


def strong(net, factor=3.0):
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.mul_(factor)
    return net


def same(path, x, expected, tolerance=0.0, **settings):
    """All outputs of every step; ``expected`` (T, B, ...) must not be silent."""
    graph = load_model(path, settings={"T": str(len(x)), "readout": "steps", **settings})
    found = graph.run(x.double().numpy()).logits
    expected = expected.detach().double().numpy()
    assert (expected != 0).mean() > 0.02
    assert np.ptp(expected) > 0
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)
    return graph


# snnTorch

RESETS = {
    "delayed": {},
    "lagging": {"reset_delay": False},
    "late": {"reset_mechanism": "zero"},
    "hard": {"reset_mechanism": "zero", "reset_delay": False},
    "none": {"reset_mechanism": "none"},
}


def hidden(net, x):
    return torch.stack([net(step) for step in x])


@pytest.mark.parametrize("reset", RESETS)
def test_snntorch_leaky_with_every_reset(reset, tmp_path):
    snn = pytest.importorskip("snntorch")
    from snntorch.export_nir import export_to_nir

    def leaky(n):
        return snn.Leaky(torch.rand(n) / 2 + 0.4, threshold=torch.rand(n) + 0.5, init_hidden=True, **RESETS[reset])

    net = strong(nn.Sequential(nn.Linear(8, 16), leaky(16), nn.Linear(16, 5), leaky(5)))
    x = torch.randn(STEPS, 3, 8)
    path = write(tmp_path / "x.nir", export_to_nir(net, x[0, 0]))
    for part in (net[1], net[3]):
        part.reset_mem()
    same(path, x, hidden(net, x), written_by="snntorch", **({} if reset == "delayed" else {"reset": reset}))


def test_snntorch_synaptic(tmp_path):
    snn = pytest.importorskip("snntorch")
    from snntorch.export_nir import export_to_nir

    kind = {"threshold": torch.ones(16), "init_hidden": True, "reset_mechanism": "zero", "reset_delay": False}
    net = strong(nn.Sequential(nn.Linear(8, 16), snn.Synaptic(torch.full((16,), 0.7), torch.full((16,), 0.8), **kind)))
    x = torch.randn(STEPS, 3, 8)
    path = write(tmp_path / "x.nir", export_to_nir(net, x[0, 0]))
    net[1].reset_mem()
    same(path, x, hidden(net, x), written_by="snntorch", reset="hard")


@pytest.mark.parametrize("all_to_all", [True, False])
@pytest.mark.parametrize("kind", ["RLeaky", "RSynaptic"])
def test_snntorch_recurrent(kind, all_to_all, tmp_path):
    snn = pytest.importorskip("snntorch")
    from snntorch.export_nir import export_to_nir

    constants = {"RLeaky": {"beta": 0.8}, "RSynaptic": {"alpha": 0.6, "beta": 0.8}}[kind]
    extra = {"linear_features": 6} if all_to_all else {"V": 1.5 * torch.randn(6), "learn_recurrent": True}
    layer = getattr(snn, kind)(**constants, threshold=0.7, all_to_all=all_to_all, init_hidden=True, **extra)
    net = strong(nn.Sequential(nn.Linear(4, 6), layer, nn.Linear(6, 3)), 1.5)
    x = 2 * torch.randn(STEPS, 3, 4)
    path = write(tmp_path / "x.nir", export_to_nir(net, x[0, 0]))
    layer.reset_mem()
    graph = same(path, x, hidden(net, x), 2e-6, written_by="snntorch")
    assert len(graph.of_type(Feedback)) == 1


# SpikingJelly


def test_spikingjelly(tmp_path):
    pytest.importorskip("spikingjelly")
    from spikingjelly.activation_based import functional, layer, neuron

    exchange = pytest.importorskip("spikingjelly.activation_based.nir_exchange")
    net = nn.Sequential(
        layer.Conv2d(2, 4, 3, padding=1), neuron.LIFNode(tau=2.0, v_threshold=0.5), layer.AvgPool2d(2),
        layer.Flatten(), layer.Linear(64, 5), neuron.ParametricLIFNode(init_tau=4.0, v_reset=-0.25),
        layer.Linear(5, 4), neuron.IFNode(v_threshold=0.75),
    )  # fmt: skip
    functional.set_step_mode(strong(net), "m")
    net.eval()
    x = torch.randn(STEPS, 2, 2, 8, 8)
    with torch.no_grad():
        expected = net(x)
    functional.reset_net(net)
    functional.set_step_mode(net, "s")
    path = write(tmp_path / "x.nir", exchange.export_to_nir(net, x[0, :1], dt=1e-4))
    same(path, x, expected, written_by="spikingjelly")


# Norse


def test_norse(tmp_path):
    norse = pytest.importorskip("norse.torch")
    from norse.torch.utils.export_nir import to_nir

    one = torch.ones
    boxed = norse.LIFBoxParameters(
        tau_mem_inv=200 * one(16), v_th=0.5 * one(16), v_leak=0 * one(16), v_reset=0 * one(16)
    )
    cells = norse.LIFParameters(
        tau_syn_inv=300 * one(8), tau_mem_inv=200 * one(8), v_th=0.3 * one(8), v_leak=0 * one(8), v_reset=0 * one(8)
    )
    leaky = norse.LIBoxParameters(tau_mem_inv=100 * one(3), v_leak=0 * one(3))
    net = norse.SequentialState(
        nn.Linear(6, 16), norse.LIFBoxCell(boxed), nn.Linear(16, 8), norse.LIFCell(cells), nn.Linear(8, 3),
        norse.LIBoxCell(leaky),
    )  # fmt: skip
    strong(net)
    x = 2 * torch.randn(STEPS, 3, 6)
    path = write(tmp_path / "x.nir", to_nir(net, x[0]))
    outputs, state = [], None
    for step in x:
        y, state = net(step, state)
        outputs.append(y)
    same(path, x, torch.stack(outputs), 2e-6, written_by="norse", input_shape="6")


# Sinabs


@pytest.mark.parametrize("spikes", ["one", "several"])
def test_sinabs(spikes, tmp_path):
    layers = pytest.importorskip("sinabs.layers")
    from sinabs.activation import MultiSpike, SingleSpike
    from sinabs.nir import to_nir

    kind = {"spike_fn": SingleSpike if spikes == "one" else MultiSpike}
    net = nn.Sequential(
        nn.Linear(6, 8), layers.IAF(spike_threshold=torch.tensor(0.5), **kind), nn.Linear(8, 5),
        layers.LIF(tau_mem=torch.full((5,), 4.0), spike_threshold=torch.full((5,), 0.4), **kind),
    )  # fmt: skip
    strong(net[0]), strong(net[2])
    x = torch.randn(3, STEPS, 6)
    expected = net(x).swapaxes(0, 1)
    for part in (net[1], net[3]):
        part.reset_states()
    path = write(tmp_path / "x.nir", to_nir(net, x))
    settings = {"written_by": "sinabs", "spikes": spikes, "input_shape": "6"}
    same(path, x.swapaxes(0, 1), expected, **settings)


# Rockpool


def test_rockpool(tmp_path):
    pytest.importorskip("rockpool")
    from rockpool.nn.combinators import Sequential
    from rockpool.nn.modules.torch import LIFTorch, LinearTorch
    from rockpool.nn.modules.torch.nir import to_nir

    def lif(n):
        return LIFTorch((n,), tau_mem=0.02, tau_syn=0.01, threshold=torch.full((n,), 0.7), bias=torch.zeros(n), dt=1e-3)

    net = Sequential(LinearTorch((6, 8)), lif(8), LinearTorch((8, 4)), lif(4))
    with torch.no_grad():
        for part in (net[0], net[2]):
            part.weight.mul_(2.0)
    x = torch.randn(2, STEPS, 6)
    expected = net(x)[0].swapaxes(0, 1)
    path = write(tmp_path / "x.nir", to_nir(net, x))
    graph = same(path, x.swapaxes(0, 1), expected, written_by="rockpool", input_shape="6")
    assert {s.name: s.value for s in graph.settings}["dt"] == 1e-3
