"""NIR files of other tools: what each primitive means in steps, and how everything else is refused."""

from __future__ import annotations

import warnings
from itertools import pairwise

import numpy as np
import pytest

h5py = pytest.importorskip("h5py")
nir = pytest.importorskip("nir")

from compiler.importers import load_model  # noqa: E402
from compiler.importers.nir_reader import PRIMITIVES, TIMED  # noqa: E402
from compiler.ir.ops import Neuron  # noqa: E402
from neurochip.errors import CheckpointError, UnsupportedError  # noqa: E402

DT = 1e-3
T = 6
RNG = np.random.default_rng(5)


def chain(tmp_path, *nodes, shape=(3,), check=True):
    """A file of nodes one behind the other; the output's shape does not matter to the reader."""
    names = {"input": nir.Input(np.array(shape)), **{f"n{i}": node for i, node in enumerate(nodes)}}
    names["output"] = nir.Output(None if check else np.array([1]))
    keys = list(names)
    path = tmp_path / "x.nir"
    nir.write(path, nir.NIRGraph(names, list(pairwise(keys)), type_check=check))
    return path


def steps(path, x, **settings):
    """Values of every step."""
    settings = {"T": str(len(x)), "dt": str(DT), "readout": "steps", **settings}
    return load_model(path, settings=settings).run(x).logits


def full(value, *shape):
    return np.full(shape or (3,), float(value))


def lif_by_hand(x, *, tau, r, v_leak, v_threshold, v_reset, k=None):
    v, k, out = np.full(x.shape[1:], v_reset), DT / tau if k is None else k, []
    for step in x:
        v = v + k * (v_leak - v + r * step)
        z = v > v_threshold
        v = np.where(z, v_reset, v)
        out.append(z)
    return np.array(out, float)


@pytest.mark.parametrize("discretisation", ["euler", "exact"])
@pytest.mark.parametrize("each", [False, True], ids=["equal", "each its own"])
def test_lif_follows_its_equation(tmp_path, discretisation, each):
    more = np.array([0.0, 0.1, 0.2]) * each
    parts = {"r": 2.0 + more, "v_leak": -0.1 + more, "v_threshold": 0.7 + more, "v_reset": -0.2 - more}
    tau = full(4 * DT)
    path = chain(tmp_path, nir.LIF(tau=tau, **parts))
    x = RNG.normal(0.6, 0.8, (40, 2, 3))
    k = DT / tau if discretisation == "euler" else 1 - np.exp(-DT / tau)
    expected = lif_by_hand(x, tau=tau, k=k, **parts)
    assert 5 < expected.sum() < 200
    np.testing.assert_array_equal(steps(path, x, discretisation=discretisation), expected)


def test_scalar_parameters_stand_for_all_neurons(tmp_path):
    """snnTorch writes arrays without axes."""
    two, none, one = np.float64(2), np.float64(0), np.float64(1)
    lif = nir.LIF(tau=two * DT, r=two, v_leak=none, v_threshold=one, v_reset=none)
    path = chain(tmp_path, lif, check=False)
    op = load_model(path, settings={"T": "2", "dt": str(DT)}).of_type(Neuron)[0].op
    assert (op.tau, op.decay_input, op.threshold, op.fires, op.reset) == (2.0, False, 1.0, "gt", "hard")


def test_if_integrates_r_dt_of_its_input(tmp_path):
    path = chain(tmp_path, nir.IF(r=full(0.5 / DT), v_threshold=full(0.9)))
    x = np.ones((4, 1, 3))
    assert steps(path, x)[:, 0, 0].tolist() == [0, 1, 0, 1]
    soft = nir.IF(r=full(1 / DT), v_threshold=full(0.75))
    path = chain(tmp_path, soft)
    assert steps(path, 0.5 * x, reset="soft")[:, 0, 0].tolist() == [0, 1, 0, 1]  # 0.5 1.0 -> 0.25 0.75 (not above)
    assert steps(path, 0.5 * x, reset="soft", fires="ge")[:, 0, 0].tolist() == [0, 1, 1, 0]


def test_cuba_lif_filters_its_input_first(tmp_path):
    parts = {"r": full(2), "v_leak": full(0.1), "v_threshold": full(0.8), "v_reset": full(0)}
    node = nir.CubaLIF(tau_syn=np.array([2.0, 4.0, 4.0]) * DT, tau_mem=full(3 * DT), w_in=full(1.5), **parts)
    x = RNG.normal(0.5, 1, (30, 2, 3))
    current, i = [], np.zeros((2, 3))
    for step in x:
        i = i + DT / node.tau_syn * (1.5 * step - i)
        current.append(i)
    expected = lif_by_hand(np.array(current), tau=node.tau_mem, **parts)
    assert expected.any()
    np.testing.assert_array_equal(steps(chain(tmp_path, node), x), expected)


@pytest.mark.parametrize("length", [1, 2, 5, 8])
def test_integrators_leak_and_never_fire(tmp_path, length):
    x = RNG.normal(size=(length, 2, 3))
    tau = np.array([1.0, 3.0, 10.0]) * DT
    found = steps(chain(tmp_path, nir.LI(tau=tau, r=full(2), v_leak=full(0.5))), x)
    v = np.zeros((2, 3))
    for step, y in zip(x, found, strict=True):
        v = v + DT / tau * (0.5 - v + 2 * step)
        np.testing.assert_allclose(y, v, rtol=1e-12, atol=1e-12)
    found = steps(chain(tmp_path, nir.I(r=full(3))), x)
    np.testing.assert_allclose(found, np.cumsum(3 * DT * x, axis=0), rtol=1e-12)
    node = nir.CubaLI(tau_syn=full(DT), tau_mem=full(DT), r=full(2), v_leak=full(0), w_in=full(4))
    np.testing.assert_allclose(steps(chain(tmp_path, node), x), 8 * x)


def test_delay_threshold_and_scale(tmp_path):
    x = RNG.normal(size=(T, 2, 3))
    late = steps(chain(tmp_path, nir.Delay(full(2 * DT))), x)
    np.testing.assert_array_equal(late[2:], x[:-2])
    assert not late[:2].any()
    limits = np.array([-0.5, 0.0, 0.5])
    np.testing.assert_array_equal(steps(chain(tmp_path, nir.Threshold(limits)), x), x > limits)
    np.testing.assert_array_equal(steps(chain(tmp_path, nir.Scale(limits)), x), x * limits)


def test_matrices_pools_and_flatten(tmp_path):
    weight, bias = RNG.normal(size=(5, 12)), RNG.normal(size=5)
    two = np.array([2, 2])
    layers = (nir.AvgPool2d(two, two, 0 * two), nir.Flatten(None, 0, -1), nir.Affine(weight, bias))
    x = RNG.normal(size=(T, 2, 3, 4, 4))
    expected = x.reshape(T, 2, 3, 2, 2, 2, 2).mean(axis=(4, 6)).reshape(T, 2, 12) @ weight.T + bias
    path = chain(tmp_path, *layers, shape=(3, 4, 4))
    np.testing.assert_allclose(steps(path, x), expected)


def test_flatten_that_counts_the_batch_is_understood(tmp_path):
    path = chain(
        tmp_path, nir.Flatten(np.array([3, 2, 2]), 1, -1), nir.Linear(np.ones((2, 12))), shape=(3, 2, 2), check=False
    )
    assert steps(path, np.ones((T, 1, 3, 2, 2)))[0, 0].tolist() == [12, 12]


@pytest.mark.parametrize(("padding", "dilation"), [(1, 1), ("same", 1), ("same", 2), ("valid", 2), (0, 2)])
@pytest.mark.parametrize("kernel", [2, 3])
def test_convolutions_equal_torch(tmp_path, padding, dilation, kernel):
    torch = pytest.importorskip("torch")
    weight, bias = RNG.normal(size=(4, 2, kernel)), RNG.normal(size=4)
    x = RNG.normal(size=(1, 2, 2, 9))
    path = chain(tmp_path, nir.Conv1d(9, weight, 1, padding, dilation, 1, bias), shape=(2, 9), check=False)
    expected = _torch_conv(torch, torch.nn.functional.conv1d, x[0], weight, bias, padding, dilation)
    np.testing.assert_allclose(steps(path, x)[0], expected, rtol=1e-9, atol=1e-12)
    weight = RNG.normal(size=(4, 1, kernel, kernel + 1))
    x = RNG.normal(size=(1, 2, 2, 7, 8))
    conv = nir.Conv2d((7, 8), weight, (1, 1), padding, dilation, 2, bias)
    path = chain(tmp_path, conv, shape=(2, 7, 8), check=False)
    expected = _torch_conv(torch, torch.nn.functional.conv2d, x[0], weight, bias, padding, dilation, groups=2)
    np.testing.assert_allclose(steps(path, x)[0], expected, rtol=1e-9, atol=1e-12)


def _torch_conv(torch, conv, x, weight, bias, padding, dilation, groups=1):
    tensors = (torch.from_numpy(a) for a in (x, weight, bias))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # even kernels and 'same': PyTorch says that it copies
        return conv(*tensors, padding=padding, dilation=dilation, groups=groups).numpy()


def test_delays_may_differ(tmp_path):
    x = RNG.normal(size=(T, 2, 4))
    late = steps(chain(tmp_path, nir.Delay(DT * np.array([0.0, 3, 1, 1])), shape=(4,)), x)
    for column, delay in enumerate((0, 3, 1, 1)):
        np.testing.assert_array_equal(late[delay:, :, column], x[: T - delay, :, column])
        assert not late[:delay, :, column].any()


@pytest.mark.parametrize("kind", ["LIF", "CubaLIF"])
def test_time_constants_may_differ(tmp_path, kind):
    x = RNG.normal(0.6, 0.8, (40, 2, 3))
    tau = DT * np.array([2.0, 4.0, 8.0])
    parts = {"r": full(2), "v_leak": full(0.1), "v_threshold": full(0.7), "v_reset": full(-0.2)}
    if kind == "LIF":
        node, current = nir.LIF(tau=tau, **parts), x
    else:
        node, current = nir.CubaLIF(tau_syn=full(DT), tau_mem=tau, w_in=full(1), **parts), x
    np.testing.assert_array_equal(steps(chain(tmp_path, node), x), lif_by_hand(current, tau=tau, **parts))


def loop(*edges, **nodes):
    nodes = {"input": nir.Input(np.array([3])), **nodes, "output": nir.Output(np.array([3]))}
    return nir.NIRGraph(nodes, list(edges), type_check=False)


def firing(**parts):
    return nir.IF(r=full(1 / DT), v_threshold=full(1), v_reset=full(0), **parts)


RECURRENT = RNG.normal(size=(3, 3))


def recurrent_by_hand(x):
    v, z, fired = np.zeros(x.shape[1:]), np.zeros(x.shape[1:]), []
    for step in x:
        v = v + step + z @ RECURRENT.T + 0.1
        z = (v > 1).astype(float)
        v = np.where(z > 0, 0, v)
        fired.append(z)
    return np.array(fired)


@pytest.mark.parametrize("inside", [True, False], ids=["graph in graph", "flat"])
def test_spikes_come_back_in_the_next_step(tmp_path, inside):
    edges = (("input", "lif"), ("w", "lif"), ("lif", "w"), ("lif", "output"))
    graph = loop(*edges, w=nir.Affine(RECURRENT, full(0.1)), lif=firing())
    path = tmp_path / "x.nir"
    nir.write(path, graph) if not inside else chain(tmp_path, graph, check=False)
    x = RNG.normal(0.3, 0.8, (30, 2, 3))
    expected = recurrent_by_hand(x)
    assert 20 < expected.sum() < 160
    np.testing.assert_array_equal(steps(path, x), expected)


def test_two_layers_that_excite_each_other(tmp_path):
    """The second hears the first in the same step, the first the second one step later."""
    edges = [("input", "a"), ("a", "forth"), ("forth", "b"), ("b", "back"), ("back", "a"), ("b", "output")]
    graph = loop(*edges, a=firing(), b=firing(), forth=nir.Linear(2 * np.eye(3)), back=nir.Linear(-np.eye(3)))
    nir.write(tmp_path / "x.nir", graph)
    found = steps(tmp_path / "x.nir", np.full((5, 1, 3), 0.75))[:, 0, 0]
    # a: 0.75, 1.5 fires, -1 + 0.75, 0.5, 1.25 fires
    assert found.tolist() == [0, 1, 0, 0, 1]


def test_a_loop_without_way_in_is_named(tmp_path):
    edges = [("input", "output"), ("a", "b"), ("b", "a"), ("b", "output")]
    nir.write(tmp_path / "x.nir", loop(*edges, a=firing(), b=firing()))
    with pytest.raises(UnsupportedError, match="in a loop that nothing leads into"):
        load_model(tmp_path / "x.nir", settings={"T": "2", "dt": str(DT)})


def test_neurons_may_fire_several_spikes(tmp_path):
    path = chain(tmp_path, nir.IF(r=full(1 / DT), v_threshold=np.array([0.5, 1.0, 2.0])))
    found = steps(path, np.full((2, 1, 3), 2.25), spikes="several", reset="soft", fires="ge")
    assert found[:, 0].tolist() == [[4, 2, 1], [5, 2, 1]]
    with pytest.raises(CheckpointError, match="spikes=several goes with reset=soft and fires=ge"):
        steps(path, np.ones((2, 1, 3)), spikes="several")


def test_a_writer_sets_defaults_that_settings_override(tmp_path):
    path = chain(tmp_path, nir.LIF(tau=full(2e-4), r=full(2), v_leak=full(0), v_threshold=full(1)))
    graph = load_model(path, settings={"T": "2", "written_by": "snntorch", "reset": "hard"})
    found = {s.name: (s.value, s.origin) for s in graph.settings}
    assert found["dt"] == (1e-4, "default")
    assert found["reset"] == ("hard", "--set")
    with pytest.raises(CheckpointError, match="written_by"):
        load_model(path, settings={"T": "2", "dt": "1", "written_by": "nobody"})


def test_a_graph_inside_the_graph_is_opened(tmp_path):
    inner = nir.NIRGraph.from_list(nir.Scale(full(2)), nir.Scale(full(3)))
    path = chain(tmp_path, inner, check=False)
    assert steps(path, np.ones((1, 1, 3)))[0, 0].tolist() == [6, 6, 6]


def test_a_batch_axis_in_the_input_shape_goes(tmp_path):
    path = chain(tmp_path, nir.Linear(np.ones((2, 3))), shape=(1, 3), check=False)
    assert steps(path, np.ones((T, 5, 3))).shape == (T, 5, 2)


def test_edges_that_meet_add_up(tmp_path):
    nodes = {
        "in": nir.Input(np.array([3])),
        "a": nir.Scale(full(2)),
        "b": nir.Scale(full(5)),
        "l": nir.Linear(np.eye(3)),
    }
    nodes["out"] = nir.Output(np.array([3]))
    edges = [("in", "a"), ("in", "b"), ("a", "l"), ("b", "l"), ("l", "out"), ("in", "out")]
    nir.write(tmp_path / "x.nir", nir.NIRGraph(nodes, edges))
    assert steps(tmp_path / "x.nir", np.ones((1, 1, 3)))[0, 0].tolist() == [8, 8, 8]


def test_the_settings_say_where_they_come_from(tmp_path):
    path = chain(tmp_path, nir.IF(r=full(1 / DT), v_threshold=full(1)))
    graph = load_model(path, settings={"T": "4", "dt": "1e-3", "input": "spikes"})
    origins = {s.name: (s.value, s.origin) for s in graph.settings}
    assert origins["dt"] == (1e-3, "--set")
    assert origins["reset"] == ("hard", "default")
    assert graph.types[graph.inputs[0].name].is_binary


def test_what_the_file_does_not_tell_is_asked_for(tmp_path):
    path = chain(tmp_path, nir.IF(r=full(1 / DT), v_threshold=full(1)))
    with pytest.raises(CheckpointError, match=r"does not tell 'T' \(steps one input takes\).*--set T=VALUE"):
        load_model(path)
    with pytest.raises(CheckpointError, match=r"does not tell 'dt' .*r would fit dt=0\.001\).*--set dt=VALUE"):
        load_model(path, settings={"T": "4"})


def lif_of(tau):
    return nir.LIF(tau=np.array(tau, float), r=full(1), v_leak=full(0), v_threshold=full(1))


@pytest.mark.parametrize(
    ("node", "error", "words"),
    [
        (
            nir.LIF(tau=full(DT / 2), r=full(1), v_leak=full(0), v_threshold=full(1)),
            CheckpointError,
            "overshoots.*exact",
        ),
        (lif_of([0, 0, 0]), CheckpointError, "'tau' above 0"),
        (nir.IF(r=full(np.nan), v_threshold=full(1)), CheckpointError, "finite numbers"),
        (nir.IF(r=full(1, 2), v_threshold=full(1, 2)), CheckpointError, r"'r' has shape \(2,\).*shape \(3,\)"),
        (nir.Delay(full(0.4 * DT)), CheckpointError, "no whole number of steps"),
        (nir.Delay(np.array([0, -DT, DT])), CheckpointError, "no whole number of steps"),
        (nir.Linear(np.ones((3, 2, 3))), UnsupportedError, "stack of matrices"),
        (nir.Linear(np.ones((2, 4))), CheckpointError, r"'n0': expected an input of shape \(\.\.\., 4\), got \(3,\)"),
    ],
    ids=["euler", "tau", "nan", "shape", "delay", "negative", "stack", "matrix"],
)
def test_what_no_graph_can_say_is_refused_by_name(tmp_path, node, error, words):
    path = chain(tmp_path, node, check=False)
    with pytest.raises(error, match=words) as caught:
        load_model(path, settings={"T": "4", "dt": str(DT)})
    assert str(caught.value).startswith(f"{path}: ")


def test_every_primitive_of_nir_is_known():
    known = {name for name in nir.ir.__all__ if isinstance(getattr(nir, name), type)} - {"NIRNode", "NIRGraph"}
    assert known == set(PRIMITIVES)
    assert set(TIMED) <= known


def test_an_unknown_primitive_and_another_hdf5_file_are_named(tmp_path):
    path = chain(tmp_path, nir.Scale(full(2)))
    with h5py.File(path, "r+") as file:
        del file["node/nodes/n0/type"]
        file["node/nodes/n0/type"] = "Warp"
    with pytest.raises(CheckpointError, match="unknown primitive 'Warp'; known are LIF"):
        load_model(path, settings={"T": "1"})
    with h5py.File(path, "w") as file:
        file["weights"] = np.ones(3)
    with pytest.raises(CheckpointError, match="not of NIR: expected a group 'node', found weights"):
        load_model(path)
    with pytest.raises(CheckpointError, match="leave --arch out"):
        load_model(path, arch="spikformer")


@pytest.mark.parametrize("trick", ["external", "soft", "virtual", "raw"])
def test_a_file_never_reaches_outside_itself(tmp_path, trick):
    path = chain(tmp_path, nir.Scale(full(2)))
    with h5py.File(tmp_path / "secret.h5", "w") as other:
        other["x"] = full(7)
    (tmp_path / "raw.bin").write_bytes(bytes(24))
    with h5py.File(path, "r+") as file:
        node = file["node/nodes/n0"]
        del node["scale"]
        if trick == "external":
            node["scale"] = h5py.ExternalLink(str(tmp_path / "secret.h5"), "x")
        elif trick == "soft":
            node["scale"] = h5py.SoftLink("/node/nodes/n0/type")
        elif trick == "virtual":
            layout = h5py.VirtualLayout(shape=(3,), dtype="f8")
            layout[:] = h5py.VirtualSource(str(tmp_path / "secret.h5"), "x", shape=(3,))
            node.create_virtual_dataset("scale", layout)
        else:
            node.create_dataset("scale", (3,), "f8", external=[(str(tmp_path / "raw.bin"), 0, 24)])
    with pytest.raises(CheckpointError, match="never followed"):
        load_model(path, settings={"T": "1"})


def test_a_small_file_cannot_claim_a_huge_array(tmp_path):
    path = chain(tmp_path, nir.Scale(full(2)))
    with h5py.File(path, "r+") as file:
        node = file["node/nodes/n0"]
        del node["scale"]
        node.create_dataset("scale", (1 << 40,), "f8", chunks=(1024,))
    with pytest.raises(CheckpointError, match="more than the file can hold"):
        load_model(path, settings={"T": "1"})
