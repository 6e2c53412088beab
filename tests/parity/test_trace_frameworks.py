"""Neurons of SpikingJelly, snnTorch, Norse and Sinabs, traced: every output and spike is the framework's."""

import copy
import warnings
from contextlib import contextmanager

import numpy as np
import pytest

from neurochip.errors import UnsupportedError

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

from compiler.importers.trace import trace  # noqa: E402

torch.set_num_threads(1)

STEPS = 6


@pytest.fixture(autouse=True)
def quiet():
    torch.manual_seed(3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the frameworks, about themselves
        yield


@contextmanager
def double_precision():
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


class Calls(nn.Module):
    """A network and what is done with it."""

    def __init__(self, function, **parts):
        super().__init__()
        self.function = function
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x):
        return self.function(self, x)


def positive(module):
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.abs_()
    return module


def check(module, shape, neurons, *, axes="TB", graded=1.0):
    """The graph of one example beside the module on another; ``neurons`` are the paths of those that spike."""
    module = module.eval()
    example, other = (2.5 * torch.rand(shape, dtype=torch.float64) for _ in range(2))
    untouched = copy.deepcopy(module)
    graph = trace(module, example.float(), STEPS, axes=axes)
    calls = {path: [] for path in neurons}

    def recorder(path):
        def record(_module, _inputs, output):
            spikes, *states = output if isinstance(output, tuple) else (output,)
            calls[path].append(spikes)
            if isinstance(getattr(_module, "spk", None), torch.Tensor):
                _module.spk = _module.spk.double()
            spikes = spikes.double()  # those of Sinabs and snnTorch are in single precision
            return (spikes, *states) if states else spikes

        return record

    for path in neurons:
        untouched.get_submodule(path).register_forward_hook(recorder(path))
    with torch.no_grad(), double_precision():
        expected = untouched.double()(other)
    time_first = (lambda y: y.swapaxes(0, 1)) if axes == "BT" else (lambda y: y)
    run = graph.run(time_first(other).numpy() if axes != "B" else other.numpy())
    np.testing.assert_allclose(run.logits, time_first(expected).numpy(), rtol=1e-9, atol=1e-12)
    assert set(run.spikes) == set(neurons)
    for path, outputs in calls.items():
        spikes = time_first(outputs[0] if len(outputs) == 1 else torch.stack(outputs)) / graded
        counts = spikes.reshape(*run.spikes[path].shape, -1).sum(2).numpy()
        np.testing.assert_array_equal(run.spikes[path], counts, err_msg=path)
        assert counts.any(), path
    return graph


def mnemonics(graph):
    return [node.op.mnemonic for node in graph.nodes if node.op.is_neuron]


# SpikingJelly


def jelly_layers():
    pytest.importorskip("spikingjelly")
    from spikingjelly.activation_based import layer, neuron

    return nn.Sequential(
        layer.Conv2d(2, 8, 3, padding=1, bias=False), layer.BatchNorm2d(8), neuron.IFNode(v_threshold=0.5),
        layer.MaxPool2d(2), layer.Conv2d(8, 8, 3, padding=1),
        neuron.ParametricLIFNode(init_tau=3.0, v_threshold=0.2), layer.AvgPool2d(2), layer.Flatten(),
        layer.Linear(32, 5), neuron.LIFNode(tau=2.0, v_reset=None, decay_input=False, v_threshold=0.1),
    )  # fmt: skip


def test_spikingjelly_multi_step():
    net = jelly_layers()
    from spikingjelly.activation_based import functional

    functional.set_step_mode(net, "m")
    graph = check(net, (STEPS, 3, 2, 8, 8), ["2", "5", "9"])
    assert mnemonics(graph) == ["neuron"] * 3


def test_spikingjelly_loops():
    def over_images(model, x):
        total = 0.0
        for _ in range(STEPS):
            total += model.net(x)
        return total / STEPS

    def over_steps(model, x):
        return torch.stack([model.net(frame) for frame in x])

    def multi_step(model, x):
        from spikingjelly.activation_based import functional

        return functional.multi_step_forward(x, model.net).mean(0)

    for function, axes in ((over_images, "B"), (over_steps, "TB"), (multi_step, "TB")):
        steps = () if axes == "B" else (STEPS,)
        check(Calls(function, net=jelly_layers()), (*steps, 3, 2, 8, 8), ["net.2", "net.5", "net.9"], axes=axes)


def test_spikingjelly_containers_and_direct_coding():
    pytest.importorskip("spikingjelly")
    from spikingjelly.activation_based import layer, neuron

    def run(model, x):
        x = x.unsqueeze(0).repeat(STEPS, 1, 1, 1, 1)
        return model.fc(model.lif(model.conv(x)).mean([3, 4])).mean(0)

    conv = layer.SeqToANNContainer(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4))
    model = Calls(run, conv=conv, lif=neuron.LIFNode(step_mode="m", v_threshold=0.1), fc=nn.Linear(4, 3))
    check(model, (3, 2, 8, 8), ["lif"], axes="B")


def test_clock_driven_spikingjelly():
    """The classes of 0.0.0.0.12 and earlier, which most published spiking transformers are written with."""
    neuron = pytest.importorskip("spikingjelly.clock_driven.neuron")
    from spikingjelly.clock_driven import layer

    def run(model, x):
        x = model.lif(model.conv(x))
        x = model.plif(model.pool(x.flatten(0, 1)).unflatten(0, (STEPS, -1)))
        return model.fc(model.last(x.flatten(2))).mean(0)

    conv = layer.SeqToANNContainer(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4))
    model = Calls(
        run,
        conv=conv,
        lif=neuron.MultiStepLIFNode(tau=2.0, detach_reset=True, v_threshold=0.2, backend="torch"),
        pool=nn.MaxPool2d(2),
        plif=neuron.MultiStepParametricLIFNode(init_tau=3.0, v_threshold=0.1, detach_reset=True),
        last=neuron.MultiStepIFNode(v_threshold=0.5, v_reset=None),
        fc=nn.Linear(36, 3),
    )
    check(model, (STEPS, 3, 2, 8, 8), ["lif", "plif", "last"])


def test_spikingjelly_refusals():
    pytest.importorskip("spikingjelly")
    from spikingjelly.activation_based import neuron, surrogate

    soft = neuron.LIFNode(surrogate_function=surrogate.Sigmoid(spiking=False))
    for neurons in (neuron.QIFNode(), soft):
        with pytest.raises(UnsupportedError, match="'1'"):
            trace(nn.Sequential(nn.Linear(6, 4), neurons).eval(), torch.rand(3, 6), 3)


# snnTorch

LEAKY = {
    "subtract": {},
    "zero": {"reset_mechanism": "zero"},
    "none": {"reset_mechanism": "none"},
    "at once": {"reset_delay": False},
    "at once to zero": {"reset_mechanism": "zero", "reset_delay": False},
}


@pytest.mark.parametrize("arguments", LEAKY.values(), ids=LEAKY)
def test_snntorch_leaky(arguments):
    snn = pytest.importorskip("snntorch")

    def run(model, x):
        first, second, spikes, membranes = model.first.init_leaky(), model.second.init_leaky(), [], []
        for _ in range(STEPS):
            spike, first = model.first(model.fc(x), first)
            spike, second = model.second(model.head(spike), second)
            spikes.append(spike)
            membranes.append(second)
        return torch.cat([torch.stack(spikes), torch.stack(membranes)], 2)

    first, second = snn.Leaky(0.9, threshold=0.4, **arguments), snn.Leaky(0.5, threshold=0.1, **arguments)
    model = Calls(run, fc=nn.Linear(6, 8), first=first, head=positive(nn.Linear(8, 3)), second=second)
    check(model, (3, 6), ["first", "second"], axes="B")


def test_snntorch_hidden_states_and_a_number_per_neuron():
    snn = pytest.importorskip("snntorch")
    first = snn.Leaky(torch.rand(8), init_hidden=True, threshold=torch.rand(8) / 2 + 0.1)
    second = snn.Leaky(0.7, init_hidden=True, threshold=0.1, graded_spikes_factor=2.0, reset_mechanism="zero")
    for layers, graded in (((nn.Linear(6, 8), first), 1.0), ((nn.Linear(6, 3), second), 2.0)):
        model = Calls(lambda m, x: torch.stack([m.net(frame) for frame in x]), net=nn.Sequential(*layers))
        check(model, (STEPS, 3, 6), ["net.1"], graded=graded)


@pytest.mark.parametrize("arguments", [{}, {"reset_mechanism": "zero"}])
def test_snntorch_synaptic(arguments):
    snn = pytest.importorskip("snntorch")

    def run(model, x):
        current, membrane, total = *model.spiking.init_synaptic(), 0
        for frame in x:
            spike, current, membrane = model.spiking(model.fc(frame), current, membrane)
            total = total + model.head(spike)
        return total / len(x)

    spiking = snn.Synaptic(alpha=0.8, beta=0.9, threshold=0.3, **arguments)
    check(Calls(run, fc=nn.Linear(6, 8), spiking=spiking, head=nn.Linear(8, 3)), (STEPS, 3, 6), ["spiking"])


@pytest.mark.parametrize("arguments", [{}, {"reset_mechanism": "zero"}, {"reset_mechanism": "none"}])
@pytest.mark.parametrize("kind", ["RLeaky", "RSynaptic"])
def test_snntorch_recurrent(kind, arguments):
    snn = pytest.importorskip("snntorch")

    def run(model, x):
        states = getattr(model.spiking, f"init_{kind.lower()}")()
        spikes = []
        for frame in x:
            states = model.spiking(model.fc(frame), *states)
            spikes.append(states[0])
        return torch.stack(spikes)

    constants = {"beta": 0.8} if kind == "RLeaky" else {"alpha": 0.7, "beta": 0.8}
    for way in ({"linear_features": 8}, {"all_to_all": False, "V": torch.randn(8)}):
        spiking = getattr(snn, kind)(**constants, **way, **arguments, threshold=0.4)
        graph = check(Calls(run, fc=nn.Linear(6, 8), spiking=spiking), (STEPS, 3, 6), ["spiking"])
        assert "feedback" in [node.op.mnemonic for node in graph.nodes]


def test_snntorch_recurrent_convolution_with_hidden_states():
    snn = pytest.importorskip("snntorch")
    spiking = snn.RLeaky(0.8, conv2d_channels=4, kernel_size=3, threshold=0.4, init_hidden=True)
    net = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), spiking)
    check(Calls(lambda m, x: torch.stack([m.net(frame) for frame in x]), net=net), (STEPS, 3, 2, 6, 6), ["net.1"])


def test_snntorch_refusals():
    snn = pytest.importorskip("snntorch")
    for neurons in (snn.Lapicque(beta=0.5, init_hidden=True), snn.Alpha(alpha=0.8, beta=0.7, init_hidden=True)):
        with pytest.raises(UnsupportedError, match=f"{type(neurons).__name__}.*'1'|'1'.*{type(neurons).__name__}"):
            trace(nn.Sequential(nn.Linear(6, 4), neurons).eval(), torch.rand(3, 6), 3)


# Norse


def test_norse_sequences():
    norse = pytest.importorskip("norse.torch")
    parameters = norse.LIFParameters(
        v_th=torch.tensor(0.1), v_reset=torch.tensor(-0.1), v_leak=torch.tensor(0.05), tau_syn_inv=torch.tensor(400.0)
    )
    nets = {
        "0.1": norse.SequentialState(nn.Linear(6, 8), norse.LIF(p=parameters), nn.Linear(8, 3), norse.LI()),
        "1": norse.SequentialState(norse.Lift(nn.Linear(6, 8)), norse.IAF(), norse.Lift(nn.Linear(8, 3))),
    }
    nets["0.1"] = norse.SequentialState(nets["0.1"], norse.Lift(nn.Linear(3, 2)))
    for path, net in nets.items():
        check(Calls(lambda m, x: m.net(x)[0], net=positive(net)), (STEPS, 3, 6), [f"net.{path}"])


def test_norse_cells():
    norse = pytest.importorskip("norse.torch")

    def run(model, x):
        first = second = third = None
        outputs = []
        for frame in x:
            spikes, first = model.first(model.fc(frame), first)
            spikes, second = model.second(spikes, second)
            voltage, third = model.third(model.head(spikes), third)
            outputs.append(voltage)
        return outputs[-1]

    model = Calls(
        run,
        fc=nn.Linear(6, 8),
        first=norse.LIFCell(p=norse.LIFParameters(v_th=torch.tensor(0.05))),
        second=norse.LIFBoxCell(p=norse.LIFBoxParameters(v_th=torch.tensor(0.05))),
        head=nn.Linear(8, 3),
        third=norse.LICell(),
    )
    check(model, (STEPS, 3, 6), ["first", "second"])


# Sinabs


def sinabs_neurons():
    layers = pytest.importorskip("sinabs.layers")
    from sinabs.activation import MaxSpike, MembraneReset, SingleSpike

    low = torch.tensor(0.2)
    return {
        "multi": layers.LIF(tau_mem=5.0),
        "not normalised": layers.LIF(tau_mem=5.0, norm_input=False),
        "single": layers.LIF(tau_mem=3.0, spike_fn=SingleSpike, spike_threshold=low),
        "reset": layers.LIF(tau_mem=3.0, spike_fn=SingleSpike, reset_fn=MembraneReset(), spike_threshold=low),
        "integrate": layers.IAF(),
        "floor": layers.IAF(min_v_mem=-1.0),
        "at most two": layers.IAF(spike_fn=MaxSpike(2)),
        "synapse": layers.LIF(tau_mem=5.0, tau_syn=3.0, norm_input=False),
    }


SINABS = ("multi", "not normalised", "single", "reset", "integrate", "floor", "at most two", "synapse")


@pytest.mark.parametrize("name", SINABS)
def test_sinabs_neurons(name):
    net = nn.Sequential(positive(nn.Linear(6, 8)), sinabs_neurons()[name], nn.Linear(8, 3))
    check(net, (3, STEPS, 6), ["1"], axes="BT")


def test_sinabs_leak_and_squeezed_batches():
    layers = pytest.importorskip("sinabs.layers")
    check(nn.Sequential(nn.Linear(6, 8), layers.ExpLeak(tau_mem=4.0)), (3, STEPS, 6), [], axes="BT")
    net = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1, bias=False), layers.IAFSqueeze(num_timesteps=STEPS), layers.SumPool2d(2),
        nn.Flatten(), nn.Linear(64, 3),
    )  # fmt: skip
    model = Calls(lambda m, x: m.net(x.flatten(0, 1)).unflatten(0, (-1, STEPS)), net=net)
    graph = trace(model.eval(), torch.rand(2, STEPS, 2, 8, 8), STEPS, axes="BT")
    assert mnemonics(graph) == ["integer_neuron"]
