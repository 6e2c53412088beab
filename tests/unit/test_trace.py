"""What a PyTorch module does becomes a graph that does the same; what cannot be followed is refused with its place."""

import numpy as np
import pytest

from compiler.ir.ops import AndNot, BatchNorm, IntegerNeuron, Neuron, TimeMean
from neurochip import load_model, save
from neurochip.errors import InputError, UnsupportedError

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402
from torch.nn import functional as f  # noqa: E402

from compiler.importers.trace import trace  # noqa: E402
from tests.bundled_neuron import LIFNode  # noqa: E402

torch.set_num_threads(1)


class Do(nn.Module):
    """A module that applies a function."""

    def __init__(self, function, **parts):
        super().__init__()
        self.function = function
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x):
        return self.function(self, x)


def kinds(graph):
    """Mnemonics without layout."""
    return [node.op.mnemonic for node in graph.nodes if node.op.mnemonic not in ("input", "reshape", "transpose")]


# Each traced module is run beside its graph by ``trace`` itself; these say what the graph is made of.
FUNCTIONS = {
    "linear and activations": (
        lambda m, x: m.fc(f.relu(x)).sigmoid().tanh() + f.gelu(x) - f.silu(x), (4,),
        "relu linear sigmoid tanh gelu add silu scale add",
    ),
    "operators": (lambda m, x: (2 * x + 1 - x / 4) * x - (3 - x) ** 2, (4,),
                  "scale affine scale scale add mul scale affine mul scale add"),
    "constants per channel": (lambda m, x: x * m.gain + m.gain[0], (4,), "affine affine"),
    "constants that repeat the value": (lambda m, x: x[:, None] * torch.ones(3, 1), (4,), "broadcast affine"),
    "broadcasting": (lambda m, x: x[:, :, None] * x[:, None] + x[:, None], (4,), "mul broadcast add"),
    "split and join": (
        lambda m, x: torch.cat([torch.ones(len(x), 1), *x.chunk(2, 1)[::-1], x[:, 1:3]], 1), (4,),
        "slice slice slice concat",
    ),
    "unbind and stack": (lambda m, x: torch.stack(x.unflatten(1, (2, 2)).unbind(1), 2), (4,), "slice slice concat"),
    "matrix products": (lambda m, x: m.square @ (x @ x.mT).softmax(-1) @ x @ m.square, (4, 4),
                        "matmul softmax linear matmul linear"),
    "einsum": (lambda m, x: torch.einsum("bhnd,bhmd->bhnm", x, x), (2, 3, 4), "matmul"),
    "einsum of heads": (lambda m, x: torch.einsum("bnhd,bmhd->bhnm", x, x), (3, 2, 4), "matmul"),
    "attention": (lambda m, x: f.scaled_dot_product_attention(x, x, x), (2, 3, 4), "matmul scale softmax matmul"),
    "pools of one channel": (
        lambda m, x: f.avg_pool3d(f.max_pool3d(x, (1, 3, 3), 1, (0, 1, 1)), (1, 2, 2)), (2, 6, 6), "max_pool avg_pool",
    ),
    "means of one channel": (
        lambda m, x: f.adaptive_avg_pool3d(x, (2, 1, 1)), (2, 6, 6), "mean",
    ),
    "uneven windows": (lambda m, x: f.adaptive_avg_pool2d(x, (4, 3)), (2, 6, 5), "linear linear"),
    "windows larger than the image": (lambda m, x: f.adaptive_avg_pool2d(x, (3, 3)), (2, 2, 1), "linear linear"),
    "convolution": (lambda m, x: m.conv(x), (2, 6, 6), "conv2d"),
    "dilated convolution": (lambda m, x: f.conv2d(x, m.kernel, None, 2, "valid", 2), (2, 6, 6), "conv2d"),
    "convolution over one axis": (lambda m, x: f.conv1d(x.flatten(2), m.kernel.flatten(2)), (2, 3, 3), "conv2d"),
    "pools": (lambda m, x: f.max_pool2d(f.avg_pool2d(x, 3, 1, 1), 2) - f.adaptive_avg_pool2d(x, 3), (2, 6, 6),
              "avg_pool max_pool avg_pool scale add"),
    "mean over positions": (lambda m, x: f.adaptive_avg_pool2d(x, 1).flatten(1) + x.mean((2, 3)), (2, 6, 6),
                            "mean add"),
    "norms": (lambda m, x: m.bn(x) + m.group(x) + f.layer_norm(x, (6, 6)), (2, 6, 6),
              "batch_norm layer_norm affine add layer_norm add"),
    "padding and borders": (lambda m, x: written(f.pad(x, (1, 1, 0, 2))), (2, 6, 6), "pad affine"),
    "rounded": (lambda m, x: torch.round(x.clamp(0, 4)) / 4, (4,), "integer_neuron scale"),
    "rounded up": (lambda m, x: torch.floor(x.clamp(0, 3) + 0.5), (4,), "integer_neuron"),
    "comparison": (lambda m, x: (x >= 0).to(x) + (x > 0.5).float(), (4,), "neuron neuron add"),
    "and not": (lambda m, x: x * (1 - (x > 0).float()), (4,), "neuron and_not"),
    "in place": (lambda m, x: x.clone().add_(1).mul_(2).relu_(), (4,), "affine scale relu"),
    "copies": (lambda m, x: m.drop(x).contiguous().detach().double().view_as(x).squeeze(), (4,), ""),
    "layouts": (lambda m, x: x.permute(0, 2, 3, 1).movedim(3, 1).swapaxes(1, 2).flatten(1).unsqueeze(1).squeeze(1),
                (2, 3, 4), ""),
}  # fmt: skip


def written(x):
    x[:, :, 0] = torch.tensor([[5.0], [6.0]])
    return x


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_become_ops(name):
    function, shape, expected = FUNCTIONS[name]
    torch.manual_seed(0)
    parts = {
        "fc": nn.Linear(4, 4), "gain": nn.Parameter(torch.rand(4)), "square": nn.Parameter(torch.randn(4, 4)),
        "conv": nn.Conv2d(2, 4, 3, 2, 1, bias=False), "kernel": nn.Parameter(torch.randn(3, 2, 2, 2)),
        "bn": nn.BatchNorm2d(2), "group": nn.GroupNorm(1, 2), "drop": nn.Dropout(0.5),
    }  # fmt: skip
    graph = trace(Do(function, **parts).eval(), torch.randn(3, *shape))
    assert " ".join(kinds(graph)) == f"{expected} time_mean".strip()


def test_layers_keep_their_module_paths():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Sequential(nn.BatchNorm2d(2), nn.ReLU(inplace=True)), nn.Flatten())
    graph = trace(model.eval(), torch.randn(2, 1, 4, 4))
    assert [node.name for node in graph.nodes] == ["input", "0", "1.0", "1.1", "1.1.reshape", "1.1.reshape.time_mean"]
    assert graph.node("1.0").op.gamma.dtype == np.float32


def network(step_mode):
    return nn.Sequential(nn.Linear(5, 8), LIFNode(step_mode), nn.Linear(8, 3), LIFNode(step_mode, tau=3.0)).eval()


def test_neurons_are_leaves_called_as_their_modules():
    torch.manual_seed(1)
    x = 4 * torch.randn(6, 3, 5)
    graph = trace(network("m"), x, timesteps=6)
    assert [node.name for node in graph.of_type(Neuron)] == ["1", "3"]
    assert graph.node("3").op == Neuron(tau=3.0)
    assert graph.timesteps == 6
    run = graph.run(x.numpy())
    assert run.logits.shape == (6, 3, 3)
    assert run.spikes["1"].sum() > 0


def loop(m, x):
    total = 0.0
    for t in range(4):
        total = total + m.net(x[t] if x.ndim == 3 else x)
    return total / 4


LOOPS = {
    "steps of the input": (loop, (4, 2, 5), {}),
    "the same input in every step": (loop, (2, 5), {}),
    "a list": (lambda m, x: torch.stack([m.net(part) for part in x]).mean(0), (4, 2, 5), {}),
    "batch first": (lambda m, x: torch.stack([m.net(x[:, t]) for t in range(4)], 1).mean(1), (2, 4, 5), {"axes": "BT"}),
    "one call a step": (lambda m, x: m.net(x), (2, 5), {}),
    "one call a step of the input": (lambda m, x: m.net(x), (4, 2, 5), {"each_step": True}),
}


@pytest.mark.parametrize("name", LOOPS)
def test_loops_over_time_leave_the_graph_of_one_step(name):
    function, shape, options = LOOPS[name]
    torch.manual_seed(2)
    graph = trace(Do(function, net=network("s")).eval(), 4 * torch.randn(shape), 4, **options)
    assert [node.op.mnemonic for node in graph.nodes][:5] == ["input", "linear", "neuron", "linear", "neuron"]
    means = len(graph.of_type(TimeMean))
    assert (len(graph.nodes), means) == ((5, 0) if name.startswith("one call") else (6, 1))


def test_repeating_the_input_makes_the_time_axis():
    net = Do(lambda m, x: m.net(x.unsqueeze(0).repeat(3, 1, 1)).mean(0), net=network("m")).eval()
    for steps in (1, 3):
        net.function = lambda m, x, steps=steps: m.net(x.unsqueeze(0).repeat(steps, 1, 1)).mean(0)
        graph = trace(net, 4 * torch.randn(2, 5), steps)
        assert kinds(graph) == ["linear", "neuron", "linear", "neuron", "time_mean"]


def test_time_and_batch_in_one_axis_are_told_apart():
    def forward(m, x):
        steps, batch = x.shape[:2]
        y = m.bn(m.conv(x.flatten(0, 1))).reshape(steps, batch, 4, 5, 5)
        return m.lif(y).flatten(3).mean(3).mean(0)

    parts = {"conv": nn.Conv2d(2, 4, 3, padding=1), "bn": nn.BatchNorm2d(4), "lif": LIFNode()}
    graph = trace(Do(forward, **parts).eval(), 3 * torch.randn(3, 2, 2, 5, 5))
    assert [node.name for node in graph.nodes][1:4] == ["conv", "bn", "lif"]
    assert isinstance(graph.node("bn").op, BatchNorm)
    assert graph.timesteps == 3


def test_a_saved_trace_opens_like_a_checkpoint(tmp_path):
    torch.manual_seed(3)
    x = 4 * torch.randn(2, 5)
    graph = trace(network("s"), x, 5, input_range=(-20, 20), name="mine")
    save(graph, tmp_path / "model.pt")
    back = load_model(tmp_path / "model.pt")
    assert str(back) == str(graph)
    assert (back.name, back.inputs[0].op.low) == ("mine", -20)
    np.testing.assert_array_equal(back.run(x.numpy()).logits, graph.run(x.numpy()).logits)


def test_token_numbers_range_over_the_table():
    graph = trace(Do(lambda m, x: m.table(x), table=nn.Embedding(50, 4)).eval(), torch.tensor([[3, 7], [1, 2]]))
    assert (graph.inputs[0].op.integer, graph.inputs[0].op.high) == (True, 49)


def test_the_module_is_left_alone():
    model = network("m")
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    trace(model, torch.randn(4, 2, 5), 4)
    assert model[1].v == 0.0
    assert "forward" not in vars(model[1])
    assert all(
        tensor.dtype == torch.float32 and torch.equal(tensor, before[k]) for k, tensor in model.state_dict().items()
    )
    assert torch.get_default_dtype() == torch.float32


def refused(function, message, x=None, steps=None, **parts):
    x = torch.randn(2, 4) if x is None else x
    with pytest.raises(UnsupportedError, match=message):
        trace(Do(function, **parts).eval(), x, steps)


class TestRefusals:
    def test_functions_without_an_op_are_named_with_their_place(self):
        inner = Do(lambda m, x: torch.fft.fft(x).real)
        refused(
            lambda m, x: m.part(x),
            r"^module 'part' \(.*test_trace\.py:\d+\): the function '.*fft.*' has no op",
            part=inner,
        )

    def test_results_that_depend_on_the_numbers(self):
        refused(lambda m, x: x if x[:, 0].max() > 0 else -x, "max")
        refused(lambda m, x: x * x[0, 0].item(), "one example of a batch|'item' looks at the numbers")
        refused(lambda m, x: x[:, torch.tensor([2, 0])], "indexing with tensors, lists or truth values")

    def test_mixing_examples(self):
        refused(lambda m, x: x.flatten(), "mixes batch or time|cannot be followed")
        refused(lambda m, x: x.mean(), "a sum or mean over the batch")
        refused(lambda m, x: x @ x.t(), "a product over batch or time")
        refused(lambda m, x: x - x.softmax(0), "softmax over batch or time")

    def test_recurrence(self):
        def forward(m, x):
            y = torch.zeros(len(x), 4)
            for _ in range(3):
                y = m.lif(x + m.back(y))
            return y

        refused(
            forward,
            "gets step 0 in its step 1; recurrent connections cannot be traced",
            steps=3,
            lif=LIFNode("s"),
            back=nn.Linear(4, 4),
        )

    def test_neurons_in_the_wrong_mode(self):
        refused(lambda m, x: m.lif(x), r"runs over axis 0 as time, but gets \(batch, value\)", lif=LIFNode("m"))
        refused(
            lambda m, x: m.lif(x),
            r"one step at a time gets \(time, batch, value\)",
            torch.randn(3, 2, 4),
            3,
            lif=LIFNode("s"),
        )
        refused(lambda m, x: m.lif(m.lif(x)), "called more often than there are steps", steps=1, lif=LIFNode("s"))

    def test_neurons_that_are_not_known(self):
        class Mine(LIFNode):
            def step(self, x):
                return super().step(2 * x)

        refused(lambda m, x: m.lif(x), "Mine changes step of spikingjelly's LIFNode", lif=Mine("s"))
        other = type("IzhikevichNode", (LIFNode,), {"__module__": LIFNode.__module__})
        graph = trace(Do(lambda m, x: m.lif(x), lif=LIFNode("s", v_reset=None)).eval(), torch.randn(2, 4))
        assert graph.node("lif").op.reset == "soft"
        assert other is not None

    def test_memory_that_the_graph_does_not_see(self):
        refused(lambda m, x: x + torch.from_numpy(x.numpy() * 2), "'numpy' looks at the numbers|numpy")

    def test_views_changed_in_place(self):
        def forward(m, x):
            y = x.clone()
            view = y.view(2, 2, 2)
            y.add_(1)
            return view

        refused(forward, "changed in place through a view")

    def test_results_without_the_input(self):
        refused(lambda m, x: torch.ones(2, 3), "its result does not depend on the input")

    def test_statistics_of_the_batch(self):
        refused(lambda m, x: f.batch_norm(x, None, None, training=True), "batch norm with the statistics of the batch")
        refused(lambda m, x: f.dropout(x, 0.5, True), "dropout in training mode")


def test_arguments_are_checked():
    model = network("m")
    with pytest.raises(InputError, match="training mode"):
        trace(network("m").train(), torch.randn(2, 5))
    with pytest.raises(InputError, match=r"expected a torch\.nn\.Module, found function"):
        trace(lambda x: x, torch.randn(2, 5))
    with pytest.raises(InputError, match="timesteps: expected 4, the length"):
        trace(model, torch.randn(4, 2, 5), 3, axes="TB")
    with pytest.raises(InputError, match="axes: expected 'B', 'TB' or 'BT', found 'TBC'"):
        trace(model, torch.randn(4, 2, 5), axes="TBC")


def test_spikes_are_told_apart_from_values():
    forward = Do(lambda m, x: (1 - (x > 0).float()) * m.count(x), count=Do(lambda m, x: torch.round(x.clamp(0, 4))))
    graph = trace(forward.eval(), torch.randn(2, 4))
    assert len(graph.of_type(AndNot)) == 1
    assert [node.name for node in graph.of_type(IntegerNeuron)] == ["count"]


decay, thresh = 0.25, 0.5


class mem_update(nn.Module):
    """A neuron as MS-ResNet's code has it; ``wrong`` is one that only shares the name."""

    wrong = False

    def forward(self, x):
        membrane, output = 0, torch.zeros_like(x)
        for step in range(len(x)):
            membrane = (0.5 if self.wrong else decay) * membrane + x[step]
            spikes = (membrane > thresh).to(x)
            membrane = membrane * (1 - spikes)
            output[step] = spikes
        return output


class Steps(nn.Module):
    def __init__(self):
        super().__init__()
        self.neurons = mem_update()
        self.fc = nn.Linear(4, 3)

    def forward(self, x):
        data, current = torch.zeros(3, *x.shape), torch.zeros(3, len(x), 3)
        for step in range(3):
            data[step] = x
        for step in range(3):
            current[step] = self.fc(data[step])
        return self.neurons(current).mean(0)


def test_tensors_filled_step_by_step_and_the_neuron_of_ms_resnet():
    graph = trace(Steps().eval(), 3 * torch.rand(5, 4), 3)
    assert kinds(graph) == ["linear", "neuron", "time_mean"]
    assert graph.by_name["neurons"].op.fires == "gt"
    wrong = Steps().eval()
    wrong.neurons.wrong = True
    with torch.no_grad():
        wrong.fc.bias.fill_(0.3)
    with pytest.raises(UnsupportedError, match="does not compute what the module does"):
        trace(wrong, torch.rand(5, 4), 3)


def test_a_tensor_filled_in_part_is_refused():
    def half(model, x):
        data = torch.zeros(3, *x.shape)
        data[0] = x
        return data.sum(0)

    def corner(model, x):
        data = torch.zeros(3, *x.shape)
        data[0, :, 0] = x[:, 0]
        return data.sum(0)

    for function, words in ((half, "1 of 3 steps are written"), (corner, "into a part of another tensor")):
        with pytest.raises(UnsupportedError, match=words):
            trace(Do(function).eval(), torch.rand(2, 4), 3)


def test_a_module_without_time_gives_a_value_without_steps():
    graph = trace(nn.Linear(4, 3).eval(), torch.rand(2, 4))
    assert graph.run(np.ones((5, 4))).logits.shape == (5, 3)


def test_programs_without_modules_are_refused():
    module = nn.Sequential(nn.Linear(4, 3), nn.ReLU()).eval()
    x = torch.rand(2, 4)
    program = torch.export.export(module, (x,))
    for made in (program, program.module(), torch.fx.symbolic_trace(module)):
        with pytest.raises(UnsupportedError, match="trace the module that they were made from"):
            trace(made, x)
