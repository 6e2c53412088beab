"""Spikformer files: what is read from where, and what is said about files that do not fit."""

import json
from math import inf, isinf

import numpy as np
import pytest

from compiler.importers import FAMILIES, blocks, find_family, load_model
from compiler.importers.options import Option, Options, input_range
from compiler.ir.graph import Setting
from compiler.ir.ops import Input, Linear, MaxPool, Neuron
from neurochip.errors import CheckpointError

LAYERS = {"spikformer-cifar": ("linear", 0, 0), "spikformer-imagenet": ("conv", 1, 2), "spikformer-dvs": ("conv", 1, 1)}


def tensors(layout="spikformer-cifar", dim=16, depth=2, channels=3, classes=10):
    """A full set of tensors, all ones."""
    layer, attention_ones, mlp_ones = LAYERS[layout]
    found = {}

    def weight(name, *shape, bias=False):
        found[f"{name}.weight"] = np.ones(shape, np.float32)
        if bias:
            found[f"{name}.bias"] = np.ones(shape[0], np.float32)

    def norm(name, size):
        weight(name, size, bias=True)
        found[f"{name}.running_mean"] = found[f"{name}.running_var"] = np.ones(size, np.float32)
        found[f"{name}.num_batches_tracked"] = np.array(7)

    sizes = [channels, dim // 8, dim // 4, dim // 2, dim]
    for i, name in enumerate(("", "1", "2", "3")):
        weight(f"patch_embed.proj_conv{name}", sizes[i + 1], sizes[i], 3, 3)
        norm(f"patch_embed.proj_bn{name}", sizes[i + 1])
    weight("patch_embed.rpe_conv", dim, dim, 3, 3)
    norm("patch_embed.rpe_bn", dim)
    for b in range(depth):
        at = f"block.{b}"
        for stem in ("q", "k", "v", "proj"):
            bias = layout == "spikformer-cifar" or stem == "proj"
            weight(f"{at}.attn.{stem}_{layer}", dim, dim, *[1] * attention_ones, bias=bias)
            norm(f"{at}.attn.{stem}_bn", dim)
        weight(f"{at}.mlp.fc1_{layer}", 4 * dim, dim, *[1] * mlp_ones, bias=True)
        norm(f"{at}.mlp.fc1_bn", 4 * dim)
        weight(f"{at}.mlp.fc2_{layer}", dim, 4 * dim, *[1] * mlp_ones, bias=True)
        norm(f"{at}.mlp.fc2_bn", dim)
        weight(f"{at}.norm1", dim, bias=True)
        weight(f"{at}.norm2", dim, bias=True)
    weight("head", classes, dim, bias=True)
    if layout == "spikformer-dvs":
        found["pos_embed"] = np.ones((1, 64, dim), np.float32)
        weight("norm", dim, bias=True)
    return found


def build(arrays, settings=None, **arguments):
    family = find_family(arrays)
    return family.build(arrays, Options(family.options, {"num_heads": 4, **arguments}, settings))


def save(path, arrays, **arguments):
    """A safetensors file: the length of a JSON header, the header, the bytes."""
    header, blob = {"__metadata__": {key: str(value) for key, value in arguments.items()}}, b""
    for key, array in arrays.items():
        data = np.ascontiguousarray(array, "<f4").tobytes()
        span = [len(blob), len(blob) + len(data)]
        header[key] = {"dtype": "F32", "shape": list(array.shape), "data_offsets": span}
        blob += data
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + blob)
    return path


def origins(graph):
    return {setting.name: (setting.value, setting.origin) for setting in graph.settings}


@pytest.mark.parametrize("layout", LAYERS)
def test_every_layout_is_recognised_and_builds(layout):
    arrays = tensors(layout)
    assert find_family(arrays).name == layout
    graph = build(arrays)
    assert graph.name == layout
    assert str(graph.types["head"]) == "real[10] untimed"
    assert graph.types["block.1.mlp_add"].high == 6  # the stem's 2 and one spike from each of four branches
    assert len(graph.of_type(Neuron)) == 5 + 2 * 7
    assert all(node.op.weight.ndim == 2 for node in graph.of_type(Linear))


def test_dead_tensors_are_named_and_counters_are_not():
    ignored = build(tensors("spikformer-dvs")).ignored
    dead = {f"block.{b}.norm{j}.{end}" for b in (0, 1) for j in (1, 2) for end in ("weight", "bias")}
    assert set(ignored) == dead | {"pos_embed", "norm.weight", "norm.bias"}


def test_defaults_are_upstreams_and_say_so():
    found = origins(build(tensors("spikformer-dvs")))
    assert found["T"] == (16, "default")
    assert found["num_heads"] == (4, "file")
    assert found["attn_scale"] == (0.25, "default")
    assert found["dim"] == (16, "tensor shapes")
    assert found["img_size"] == ((128, 128), "default")


def test_settings_win_over_the_file_and_the_file_over_defaults():
    graph = build(tensors(), {"time_step": "2", "tau": "1.5"}, T=8, img_size=16, patch_size=None)
    found = origins(graph)
    assert graph.timesteps == 2
    assert found["T"] == (2, "--set")
    assert found["tau"] == (1.5, "--set")
    assert found["img_size"] == ((16, 16), "file")
    assert found["patch_size"] == (4, "default")
    assert graph.node("block.0.attn.q_lif").op == Neuron(tau=1.5)
    assert graph.node("block.0.attn.attn_lif").op == Neuron(tau=1.5, threshold=0.5)


@pytest.mark.parametrize(("patch", "pools"), [(1, 0), (2, 1), (4, 2), (8, 3), (16, 4)])
def test_patch_size_decides_how_many_stages_pool(patch, pools):
    graph = build(tensors(), {"patch_size": str(patch), "img_size": "16x32"})
    names = [node.name for node in graph.of_type(MaxPool)]
    assert names == [f"patch_embed.maxpool{i}" for i in ("", "1", "2", "3")][4 - pools :]
    assert graph.types["patch_embed.tokens"].shape == (512 // patch**2, 16)


def test_the_range_of_normalised_images_follows_from_mean_and_std():
    found = input_range({"mean": [0.5, 0.25], "std": [0.5, 0.25]})
    assert found == {"input_low": -1.0, "input_high": 3.0}
    for bad in ({}, {"mean": [0.5], "std": []}, {"mean": None, "std": None}, {"mean": ["x"], "std": [1]}):
        assert input_range(bad) == {}
    op = build(tensors(), **found).inputs[0].op
    assert op == Input(shape=(3, 32, 32), low=-1.0, high=3.0)
    assert isinf(build(tensors()).inputs[0].op.high)


def test_half_precision_becomes_float32():
    arrays = tensors()
    arrays["head.weight"] = arrays["head.weight"].astype(np.float16)
    assert build(arrays).node("head").op.weight.dtype == np.float32


@pytest.mark.parametrize("prefix", ["model.", "params.", "lightning.net."])
def test_the_module_that_held_the_model_does_not_matter(prefix, tmp_path):
    arrays = {prefix + key: np.asarray(x, np.float32) for key, x in tensors().items()}
    save(tmp_path / "x.safetensors", arrays)
    graph = load_model(tmp_path / "x.safetensors", settings={"num_heads": "4"})
    assert str(graph) == str(
        build({key: np.asarray(x, np.float32) for key, x in tensors().items()}, {"num_heads": "4"})
    )


def test_large_weights_of_half_precision_are_not_copied(monkeypatch):
    monkeypatch.setattr(blocks, "LARGE", 8)
    arrays = {key: x.astype(np.float16) for key, x in tensors().items()}
    graph = build(arrays)
    assert np.shares_memory(graph.node("head").op.weight, arrays["head.weight"])
    single = build({key: x.astype(np.float32) for key, x in arrays.items()})
    x = np.random.default_rng(0).normal(size=(1, 3, 32, 32))
    np.testing.assert_array_equal(graph.run(x).logits, single.run(x).logits)
    arrays["head.weight"][0, 0] = np.inf
    with pytest.raises(CheckpointError, match=r"head.weight: holds NaN or infinite values"):
        build(arrays)


class TestFaults:
    def fails(self, message, change=None, settings=None, **arguments):
        arrays = tensors()
        if change is not None:
            change(arrays)
        with pytest.raises(CheckpointError, match=message):
            build(arrays, settings, **arguments)

    def test_missing_tensors_are_listed(self):
        def change(arrays):
            del arrays["block.1.attn.q_bn.running_var"], arrays["head.bias"]

        self.fails(
            r"^the tensors do not fit spikformer-cifar; "
            r"2 missing: block\.1\.attn\.q_bn\.running_var \[16\], head\.bias \[10\]$",
            change,
        )

    def test_unexpected_tensors_are_listed_up_to_eight(self):
        def change(arrays):
            arrays.update({f"extra.{i}": np.ones(2) for i in range(11)})

        self.fails(r"11 unexpected: extra\.0 \[2\], .*extra\.7 \[2\] and 3 more$", change)

    def test_a_block_without_tensors_is_missing_not_skipped(self):
        def change(arrays):
            arrays["block.4.norm1.weight"] = np.ones(16, np.float32)

        self.fails("missing: block.2.attn.q_linear.weight", change)

    @pytest.mark.parametrize(
        ("array", "message"),
        [
            (np.ones((16, 15), np.float32), r"proj_linear\.weight: expected \[16, 16\], got \[16, 15\]"),
            (np.ones((16, 16), np.int64), r"proj_linear\.weight: expected real numbers, got int64"),
            (np.full((16, 16), np.nan, np.float32), r"proj_linear\.weight: holds NaN or infinite values"),
        ],
    )
    def test_unfit_tensors_are_listed(self, array, message):
        def change(arrays):
            arrays["block.0.attn.proj_linear.weight"] = array

        self.fails(f"1 unfit: block.0.attn.{message}", change)

    def test_negative_variance(self):
        def change(arrays):
            arrays["patch_embed.rpe_bn.running_var"] = np.full(16, -1, np.float32)

        self.fails(r"patch_embed\.rpe_bn\.running_var: holds negative values", change)

    def test_a_missing_tensor_that_tells_a_size(self):
        def change(arrays):
            del arrays["head.weight"]

        self.fails(r"^missing tensor 'head\.weight', which tells the size of the model$", change)

    def test_impossible_settings(self):
        self.fails("num_heads 3 does not divide the width 16; .* --set num_heads=COUNT", num_heads=3)
        self.fails("expected patch_size to be 1, 2, 4, 8 or 16, got 5", settings={"patch_size": "5"})
        self.fails(r"patch_size 4 does not divide img_size \(30, 32\)", settings={"img_size": "30x32"})
        self.fails("setting 'T' from --set: expected a whole number >= 1, got '0'", settings={"T": "0"})
        self.fails("setting 'T' from the file's arguments: expected a whole number >= 1, got 2.5", T=2.5)
        self.fails("setting 'tau' from --set: expected a number, got 'nan'", settings={"tau": "nan"})
        self.fails("setting 'img_size' from --set: expected a size such as", settings={"img_size": "3x3x3"})
        self.fails("expected input_low <= input_high", settings={"input_low": "2", "input_high": "1"})

    def test_unknown_settings_are_refused_with_a_guess(self):
        self.fails(
            "^unknown setting 'num_head'; this model knows T, img_size, .*num_heads, .*; did you mean 'num_heads'",
            settings={"num_head": "4"},
        )


class TestLoadModel:
    def test_from_a_file(self, tmp_path):
        path = save(tmp_path / "m.safetensors", tensors(), num_heads=4, T=2, img_size=16)
        graph = load_model(path, settings={"tau": "3"})
        assert graph.timesteps == 2
        assert graph.settings[0] == Setting("T", 2, "file")
        assert graph.run(np.zeros((1, 3, 16, 16))).logits.shape == (1, 10)

    def test_faults_name_the_file(self, tmp_path):
        arrays = tensors()
        del arrays["head.bias"]
        path = save(tmp_path / "m.safetensors", arrays, num_heads=4)
        with pytest.raises(
            CheckpointError, match=r"m\.safetensors: the tensors do not fit spikformer-cifar; 1 missing"
        ):
            load_model(path)

    def test_architectures_by_name(self, tmp_path):
        path = save(tmp_path / "m.safetensors", tensors(), num_heads=4)
        assert load_model(path, arch="spikformer").name == "spikformer-cifar"
        assert load_model(path, arch="spikformer-cifar").name == "spikformer-cifar"
        with pytest.raises(CheckpointError, match="unknown architecture 'resnet'; known are spikformer-cifar, "):
            load_model(path, arch="resnet")
        with pytest.raises(CheckpointError, match=r"missing tensor 'block\.0\.mlp\.fc1_conv\.weight'"):
            load_model(path, arch="spikformer-dvs")

    def test_foreign_tensors_are_refused(self, tmp_path):
        path = save(tmp_path / "m.safetensors", {"layer1.0.weight": np.ones(3)})
        with pytest.raises(CheckpointError, match=r"of no known architecture .* holds 1 tensors: layer1\.0\.weight"):
            load_model(path)


def test_family_names_are_unique():
    names = [family.name for family in FAMILIES]
    assert len(set(names)) == len(names)


def test_option_kinds():
    options = (
        Option(name="size", kind="size", default=(1, 1)),
        Option(name="x", kind="number", default=inf),
        Option(name="n", kind="count", default=1, spellings=("m",)),
    )
    found = Options(options, {"size": [4, 6], "x": 2, "m": "3"})
    assert found.size("size") == (4, 6)
    assert found.number("x") == 2.0
    assert found.count("n") == 3
    with pytest.raises(CheckpointError, match="expected a whole number >= 1, got True"):
        Options(options, {"n": True})


def test_choices_are_words_and_never_guessed_without_a_default():
    option = Option(name="pool", kind="choice", default=None, choices=("spikes", "currents"), meaning="what is pooled")
    assert Options((option,), {"pool": "Currents"}).text("pool") == "currents"
    assert Options((option,), {}, {"pool": "spikes"}).settings == (Setting("pool", "spikes", "--set"),)
    with pytest.raises(CheckpointError, match=r"from --set: expected .*spikes.*currents, got 'both'$"):
        Options((option,), {}, {"pool": "both"})
    with pytest.raises(CheckpointError, match=r"does not tell 'pool' \(what is pooled\).*=VALUE.*spikes.*currents"):
        Options((option,), {})


def test_flags_shapes_and_text():
    options = (
        Option(name="tet", kind="flag", default=False, spellings=("TET",)),
        Option(name="shape", kind="shape", default=(1,)),
        Option(name="words", kind="text", default=""),
        Option(name="heads", kind="count", default=8, in_file=False),
    )
    found = Options(options, {"TET": True, "shape": (3, 4, 5), "words": "conv lif", "heads": 4})
    assert (found.flag("tet"), found.shape("shape"), found.text("words")) == (True, (3, 4, 5), "conv lif")
    assert found.count("heads") == 8  # upstream's code overrides its own command line
    assert Options(options, {}, {"tet": "True", "shape": "3x4", "heads": "2"}).settings == (
        Setting("tet", True, "--set"),
        Setting("shape", (3, 4), "--set"),
        Setting("words", "", "default"),
        Setting("heads", 2, "--set"),
    )
    with pytest.raises(CheckpointError, match="expected true or false, got 'maybe'"):
        Options(options, {"TET": "maybe"})


def test_defaults_that_depend_on_the_tensors_give_way_to_what_was_said():
    options = (Option(name="T", kind="count", default=4), Option(name="tau", kind="number", default=2.0))
    found = Options(options, {"T": 3})
    found.suggest("T", 16)
    found.suggest("tau", 1.5)
    assert found.settings == (Setting("T", 3, "file"), Setting("tau", 1.5, "default"))


def test_what_the_tensors_tell_is_recorded_and_not_overruled():
    options = (Option(name="heads", kind="count", default=8),)
    found = Options(options, {"heads": 3})
    found.tell("heads", 4)
    assert found.settings == (Setting("heads", 4, "tensor shapes"),)
    with pytest.raises(CheckpointError, match="setting 'heads' from --set is 3, but the tensors are of heads 4"):
        Options(options, {}, {"heads": "3"}).tell("heads", 4)


class TestHostileShapes:
    def test_a_misshapen_tensor_takes_no_memory_for_what_it_promises(self):
        arrays = tensors()
        arrays["patch_embed.rpe_conv.weight"] = np.broadcast_to(np.float32(1), (8 * 10**6, 1, 1, 1))
        with pytest.raises(CheckpointError, match="do not fit spikformer-cifar"):
            build(arrays)

    @pytest.mark.parametrize("number", ["100000", "9" * 5000])
    def test_a_block_far_away_is_refused_before_the_blocks_in_front_are_built(self, number):
        arrays = tensors()
        arrays[f"block.{number}.norm1.weight"] = np.ones(16, np.float32)
        with pytest.raises(CheckpointError, match=r"there is a tensor of 'block\.[019]+', but only \d+ tensors in all"):
            build(arrays)

    def test_sizes_that_contradict_each_other_name_the_file(self, tmp_path):
        path = save(tmp_path / "m.safetensors", tensors(), num_heads=4)
        with pytest.raises(CheckpointError, match=r"m\.safetensors: node 'block\.0"):
            load_model(path, settings={"img_size": "32", "attn_scale": "0"})
