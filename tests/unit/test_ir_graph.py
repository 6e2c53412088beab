"""Graphs: rewriting keeps order and meaning; running checks its input and measures spikes."""

import numpy as np
import pytest

from compiler.ir.graph import Graph, Node
from compiler.ir.ops import Add, Input, Linear, Neuron, Scale, TimeMean
from compiler.ir.verify import verify
from neurochip.errors import GraphError, InputError


def chain(timesteps=4):
    """input (2) -> synapses -> neuron -> mean, with a side branch."""
    return Graph(
        "chain",
        (
            Node("input", Input(shape=(2,))),
            Node("synapses", Linear(weight=np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])), ("input",)),
            Node("neuron", Neuron(tau=None), ("synapses",)),
            Node("double", Add(), ("neuron", "neuron")),
            Node("mean", TimeMean(), ("double",)),
        ),
        ("mean",),
        timesteps,
    )


class TestQueries:
    graph = chain()

    def test_neighbours(self):
        neuron = self.graph.node("neuron")
        assert self.graph.producer(neuron).name == "synapses"
        assert [n.name for n in self.graph.consumers("neuron")] == ["double"]
        assert self.graph.sole_consumer("synapses") is neuron
        assert self.graph.sole_consumer("mean") is None

    def test_an_output_has_no_sole_consumer(self):
        both = self.graph.with_nodes(self.graph.nodes, ["mean", "neuron"])
        assert both.sole_consumer("neuron") is None

    def test_types_and_macs(self):
        assert [str(self.graph.types[n]) for n in ("synapses", "neuron", "double", "mean")] == [
            "real[3]",
            "spikes[3]",
            "int{0..2}[3]",
            "real{0..2}[3] untimed",
        ]
        assert self.graph.macs("synapses") == 6
        assert self.graph.of_type(Neuron, Add) == self.graph.nodes[2:4]

    def test_unknown_names_are_refused(self):
        with pytest.raises(GraphError, match=r"^graph 'chain' has no node 'nobody'$"):
            self.graph.node("nobody")

    def test_repr_says_what_it_is(self):
        assert repr(self.graph) == "<Graph 'chain': 5 nodes, 1 neuron layers, T = 4, outputs mean>"


class TestRewriting:
    graph = chain()

    def test_replacing_one_node_by_two_keeps_topological_order(self):
        scaled = Node("scaled", Scale(factor=2.0), ("neuron",))
        renamed = Node("double", Scale(factor=1.0), ("scaled",))
        graph = verify(self.graph.replace_nodes({"double": (renamed, scaled)}))
        assert [n.name for n in graph.nodes] == ["input", "synapses", "neuron", "scaled", "double", "mean"]

    def test_removing_a_node_and_rewiring_its_readers(self):
        graph = verify(self.graph.replace_nodes({"double": ()}, {"double": "neuron"}))
        assert graph.node("mean").inputs == ("neuron",)

    def test_outputs_are_rewired_too(self):
        assert self.graph.rewire({"mean": "neuron"}).without_dead_nodes().outputs == ("neuron",)

    def test_dead_nodes_go_but_inputs_stay(self):
        graph = self.graph.with_nodes(self.graph.nodes, ["input"]).without_dead_nodes()
        assert [n.name for n in graph.nodes] == ["input"]

    def test_free_order_is_kept(self):
        assert self.graph.with_nodes(self.graph.nodes).nodes == self.graph.nodes

    def test_the_old_graph_is_unchanged(self):
        before = self.graph.nodes
        self.graph.replace_nodes({"double": ()}, {"double": "neuron"})
        assert self.graph.nodes is before

    def test_fresh_names(self):
        assert self.graph.fresh_name("relay") == "relay"
        assert self.graph.fresh_name("neuron") == "neuron.1"

    @pytest.mark.parametrize(
        ("nodes", "message"),
        [
            ((Node("a", Add(), ("b", "b")), Node("b", Add(), ("a", "a"))), "node 'a' depends on itself"),
            ((Node("a", Input(shape=(1,))),) * 2, "two nodes are called 'a'"),
            ((Node("a", Add(), ("b", "b")),), "node 'a' reads 'b', which no node makes"),
        ],
    )
    def test_impossible_orders_are_refused(self, nodes, message):
        with pytest.raises(GraphError, match=f"^{message}$"):
            self.graph.with_nodes(nodes)


class TestVerify:
    def fails(self, message, **changes):
        graph = chain()
        parts = {"nodes": graph.nodes, "outputs": graph.outputs, "timesteps": 4} | changes
        with pytest.raises(GraphError, match=f"^{message}$"):
            verify(Graph("chain", **parts))

    def test_a_good_graph_passes(self):
        graph = chain()
        assert verify(graph) is graph

    def test_faults_are_named(self):
        nodes = chain().nodes
        self.fails("graph 'chain': expected timesteps >= 1, got 0", timesteps=0)
        self.fails("graph 'chain' has no outputs", outputs=())
        self.fails("output 'logits' of graph 'chain' is not a node", outputs=("logits",))
        self.fails("two nodes are called 'mean'", nodes=(*nodes, nodes[-1]))
        self.fails("node 'synapses' reads 'input', which a later node makes", nodes=(nodes[1], nodes[0], *nodes[2:]))
        self.fails("node 'synapses' reads 'input', which no node makes", nodes=nodes[1:])
        self.fails(
            r"node 'double' \(add\) is dead: nothing reads it and it is no output", nodes=nodes[:4], outputs=("neuron",)
        )
        self.fails(
            r"node 'bad' \(linear\): expected an input of shape \(\.\.\., 5\), got \(3,\)",
            nodes=(*nodes, Node("bad", Linear(weight=np.ones((1, 5))), ("double",))),
            outputs=("mean", "bad"),
        )


class TestRun:
    graph = chain()

    def test_outputs_and_spike_counts(self):
        run = self.graph.run(np.array([[0.5, 0.0], [1.0, 0.25]]))
        # Image 0: currents 0.5, 0, 0.5; image 1: 1, 0.25, 1.25; integrate and fire at 1 over 4 steps.
        np.testing.assert_array_equal(run.logits, [[1.0, 0.0, 1.0], [2.0, 0.5, 2.0]])
        np.testing.assert_array_equal(run.spikes["neuron"], [[0, 2], [2, 2], [0, 2], [2, 3]])
        assert repr(run) == "<GraphRun: mean (2, 3); 13 spikes in 1 neuron layers>"
        assert run.values == {}

    def test_recording(self):
        x = np.ones((2, 2))
        assert set(self.graph.run(x, record="spikes").values) == {"neuron"}
        values = self.graph.run(x, record="values").values
        assert list(values) == [n.name for n in self.graph.nodes]
        # A static image is convolved once; the neuron still sees every step.
        assert values["synapses"].shape == (1, 2, 3)
        assert values["neuron"].shape == (4, 2, 3)
        assert values["mean"].shape == (1, 2, 3)

    def test_timed_outputs_show_every_step(self):
        graph = self.graph.with_nodes(self.graph.nodes, ["mean", "synapses", "neuron"])
        outputs = graph.run(np.ones((5, 2))).outputs
        assert {name: a.shape for name, a in outputs.items()} == {
            "mean": (5, 3),
            "synapses": (4, 5, 3),
            "neuron": (4, 5, 3),
        }

    def test_small_batches_give_the_same_result(self, monkeypatch):
        x = np.random.default_rng(0).uniform(0, 1, (7, 2))
        whole = self.graph.run(x, record="spikes")
        monkeypatch.setattr("compiler.ir.run.VALUE_BYTES", 2 * 8 * 4 * 3)
        parts = self.graph.run(x, record="spikes")
        np.testing.assert_array_equal(parts.logits, whole.logits)
        np.testing.assert_array_equal(parts.spikes["neuron"], whole.spikes["neuron"])
        np.testing.assert_array_equal(parts.values["neuron"], whole.values["neuron"])

    def test_state_is_reset_between_runs(self):
        x = np.full((1, 2), 0.75)
        np.testing.assert_array_equal(self.graph.run(x).logits, self.graph.run(x).logits)

    def test_inputs_by_name(self):
        nodes = (Node("a", Input(shape=(2,))), Node("b", Input(shape=(2,))), Node("sum", Add(), ("a", "b")))
        graph = Graph("two", nodes, ("sum",), 3)
        assert graph.run({"a": np.ones((1, 2)), "b": np.ones((3, 1, 2))}).logits.shape == (3, 1, 2)
        with pytest.raises(InputError, match="give a mapping"):
            graph.run(np.ones((1, 2)))
        with pytest.raises(InputError, match=r"expected arrays for the inputs \['a', 'b'\], got \['a'\]"):
            graph.run({"a": np.ones((1, 2))})
        with pytest.raises(InputError, match="expected one number of images"):
            graph.run({"a": np.ones((1, 2)), "b": np.ones((2, 2))})

    @pytest.mark.parametrize(
        ("x", "message"),
        [
            (np.ones((5, 3)), r"input 'input': expected shape \(B, 2\) or \(4, B, 2\), got \(5, 3\)"),
            (np.ones(2), r"got \(2,\); add a batch axis: x\[None\]"),
            (np.ones((3, 5, 2)), r"the model runs 4 steps, but the data holds 3: \(3, 5, 2\)"),
            (np.ones((0, 2)), r"no images, shape \(0, 2\)"),
            (np.ones((1, 2), complex), "expected real numbers .float, integer or bool., got dtype complex128"),
            (np.array([["a", "b"]]), "got dtype <U1"),
            (np.array([[None, 1]]), "got dtype object"),
            (np.array([[1.0, np.nan]]), r"expected a finite number, got nan at \(0, 1\) \(1 such elements\)"),
            (np.full((4, 1, 2), np.inf), r"expected a finite number, got inf at \(0, 0, 0\) \(8 such elements\)"),
        ],
    )
    def test_bad_input_is_refused(self, x, message):
        with pytest.raises(InputError, match=message):
            self.graph.run(x)

    def test_domain_of_the_input_is_enforced(self):
        counts = Graph("counts", (Node("input", Input(shape=(2,), integer=True, low=0, high=3)),), ("input",), 1)
        assert counts.run(np.array([[0, 3]], np.uint8)).logits.tolist() == [[[0, 3]]]
        with pytest.raises(InputError, match=r"expected a number in 0\.\.3, got 4 at \(0, 1\)"):
            counts.run([[1, 4]])
        with pytest.raises(InputError, match=r"expected a whole number, got 0\.5 at \(0, 0\)"):
            counts.run([[0.5, 1]])

    def test_channels_last_images_get_a_hint(self):
        graph = Graph("image", (Node("input", Input(shape=(3, 8, 8))),), ("input",), 1)
        with pytest.raises(InputError, match="move the channels first"):
            graph.run(np.ones((2, 8, 8, 3)))
