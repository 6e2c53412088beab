"""The benchmarks measure what they say: the ceiling adds rows, models fire as promised, jobs and reports work."""

from __future__ import annotations

import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner

from benchmarks import architectures, bare, child, models, run, table
from benchmarks.bench_imagenet import growth, report, summary
from benchmarks.settings import Results
from compiler.importers import load_model
from compiler.importers.checkpoint import read_checkpoint


def tiny(name="tiny", image=32, classes=5):
    """A Spikformer of 16 channels and two blocks in the ImageNet layout."""
    tensors = architectures.spikformer(16, 2, heads=2, tokens=4, classes=classes, conv=True)
    return models.Model(name=name, image=image, tensors=tensors, settings={"num_heads": "2", "img_size": str(image)})


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return tiny().checkpoint(tmp_path_factory.mktemp("cache"), 2)


def test_bare_row_addition_equals_a_matrix_product():
    rng = np.random.default_rng(0)
    spikes = rng.random((7, 30)) < 0.4
    weight = rng.integers(-127, 128, (30, 11)).astype(np.int8)
    start = np.concatenate([[0], np.cumsum(spikes.sum(1))]).astype(np.int64)
    out = np.zeros((7, 11), np.int32)
    bare.add_rows(start, np.nonzero(spikes)[1].astype(np.int32), weight, out)
    assert np.array_equal(out, spikes.astype(int) @ weight.astype(int))


def test_the_ceiling_weighs_layers_by_their_work():
    shapes = [bare.RowAdds(8, 4.0, 16, 64), bare.RowAdds(8, 2.0, 16, 8)]
    both = bare.ceiling([bare.Work(shapes[0], 1000), bare.Work(shapes[1], 1000), bare.Work(shapes[1], 0)])
    assert 0 < both < math.inf
    assert bare.ceiling([]) == 0


def test_noise_images_are_eight_bit_pixels_with_more_power_in_low_frequencies():
    images = models.noise_images(np.random.default_rng(0), 2, 32)
    pixels = images * models.STD[:, None, None] + models.MEAN[:, None, None]
    assert images.shape == (2, 3, 32, 32)
    assert np.abs(pixels * 255 - np.rint(pixels * 255)).max() < 1e-3
    assert pixels.min() > -1e-6
    assert pixels.max() < 1 + 1e-6
    power = np.abs(np.fft.rfft2(pixels - pixels.mean(axis=(2, 3), keepdims=True))) ** 2
    assert power[..., 1:4, 1:4].mean() > 20 * power[..., 12:, 12:].mean()


def test_calibrated_norms_give_the_rates_they_were_set_for(checkpoint):
    graph = load_model(checkpoint, settings=tiny().options(2))
    images = models.noise_images(np.random.default_rng(0), 4, 32)
    values = graph.run(images, record="values").values
    stem = [name for name in values if "patch_embed" in name and name.endswith(("lif", "lif1", "lif2"))]
    assert all(0.03 < values[name].mean() < 0.30 for name in stem)
    norm = values["patch_embed.proj_bn"]
    expected = read_checkpoint(checkpoint).tensors["patch_embed.proj_bn.bias"]
    np.testing.assert_allclose(norm.mean(axis=(0, 1, 3, 4)), expected, atol=0.5)


def test_models_are_made_once_and_read_back_unchanged(checkpoint):
    before = checkpoint.stat().st_mtime_ns
    assert tiny().checkpoint(checkpoint.parent, 2) == checkpoint
    assert checkpoint.stat().st_mtime_ns == before
    drawn = tiny().tensors(np.random.default_rng(0))
    read = read_checkpoint(checkpoint).tensors
    assert list(read) == list(drawn)
    assert np.array_equal(read["head.weight"], drawn["head.weight"])


PARAMETERS = {  # as counted in the authors' models, without the norms that are never called
    "spikformer-4-384": 9_325_000,
    "spikformer-8-384": 16_816_000,
    "spikformer-8-512": 29_689_000,
    "spikformer-8-768": 66_339_000,
    "spikformer-v2-8-512": 51_545_000,
    "meta-spikeformer-15m": 15_112_000,
    "meta-spikeformer-31m": 31_334_000,
    "meta-spikeformer-55m": 55_350_000,
}


@pytest.mark.parametrize("name", models.MODELS)
def test_full_size_models_have_the_layout_and_size_of_the_authors(name):
    model = models.MODELS[name]
    rng = SimpleNamespace(normal=zeros, uniform=zeros)  # shapes are enough, and drawing 66 M weights is slow
    tensors = model.tensors(rng)
    graph = models._graph(tensors, model.options(4))
    assert graph.timesteps == 4
    count = sum(tensor.size for key, tensor in tensors.items() if "running" not in key)
    assert count == pytest.approx(PARAMETERS[name], abs=1_000)
    assert graph.type_of(graph.inputs[0]).shape == (3, model.image, model.image)


def zeros(_low, _high, shape):
    return np.zeros(shape, np.float32)


@pytest.fixture(scope="module")
def facts(tmp_path_factory, checkpoint):
    """What the benchmark of a full-size model collects, of a small one and without processes of its own."""
    folder = tmp_path_factory.mktemp("jobs")
    images = folder / "x.npy"
    np.save(images, models.noise_images(np.random.default_rng(1), 1, 32))
    program = str(folder / "p.ncp")
    compiled = child.compile_job(str(checkpoint), "loihi", tiny().options(2), program, 1)
    job = {"program": program, "x": str(images), "threads": 1, "repeat": 1}
    analytic = child.simulate_job(**job, noc="analytic", warm_up=True, profile=True)
    packet = child.simulate_job(**job, noc="packet")
    check = child.check_job(program, str(images))
    torch = {"wall_s": 1.0, "cpu_s": 1.0, "spikes": {"lif": 1}, "logits": analytic["logits"]}
    found = {
        "compile": compiled,
        "analytic": analytic,
        "eight": packet,
        "packet": packet,
        "check": check,
        "torch": torch,
    }
    return json.loads(json.dumps(found))


def test_jobs_measure_stages_memory_and_kernels(facts):
    assert {"import", "quantise", "mapping"} <= facts["compile"]["runs"][0]["stages_s"].keys()
    assert facts["compile"]["peak_bytes"] > 1 << 20
    analytic, packet = facts["analytic"], facts["packet"]
    assert analytic["synaptic_operations"] == packet["synaptic_operations"] > analytic["row_operations"] > 0
    assert analytic["packets"] == packet["packets"] == sum(packet["packets_by_kind"].values()) > 0
    assert analytic["token_kernel"]["operations"] > 0
    assert analytic["token_kernel"]["seconds"] > 0, "the profile found no kernel of that name"


def test_a_full_size_model_is_reported_beside_pytorch_and_the_bare_kernel(facts):
    row = summary("tiny@2", facts)
    assert row["of SpikingJelly"] == facts["analytic"]["wall_s"]
    assert 0 < row["of bare"] < 1
    tables = report("tiny@2", facts, facts)
    assert tables["tiny@2: compared with the integer reference"][0]["exact"] is True
    kinds = tables["tiny@2: neurons and packets by kind of population"]
    assert sum(row["of packets"] for row in kinds) == pytest.approx(1)
    assert sum(row["of neurons"] for row in kinds) == pytest.approx(1)
    assert sum(len(rows) > 0 for rows in tables.values()) == len(tables)


def test_one_command_prints_tables_and_writes_json_with_machine_and_commit(tmp_path, monkeypatch):
    def one(settings):
        return Results(tables={"Speed": [{"what": "a", "G/s": 1.5}, {"what": "b"}]}, details={"quick": settings.quick})

    monkeypatch.setattr(run.importlib, "import_module", lambda name: SimpleNamespace(run=one))
    done = CliRunner().invoke(run.main, ["sim", "--quick", "-o", str(tmp_path / "r.json"), "--cache", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert "Speed" in done.output
    written = json.loads((tmp_path / "r.json").read_text())
    assert written["machine"]["cores"] >= 1
    assert {"cpu", "commit", "python", "packages"} <= written["machine"].keys()
    assert written["sim"]["tables"]["Speed"][0] == {"what": "a", "G/s": 1.5}


def test_every_benchmark_named_has_a_module_with_run():
    for name in run.BENCHES:
        module = __import__(f"benchmarks.bench_{name}", fromlist=["run"])
        assert callable(module.run)


def test_a_models_weight_bits_follow_its_steps(tmp_path, monkeypatch):
    from benchmarks import bench_imagenet

    monkeypatch.setitem(models.MODELS, "tiny", tiny())
    case = bench_imagenet.prepare("tiny@2/6", tmp_path)
    assert (case.name, case.steps, case.bits) == ("tiny@2/6", 2, 6)
    assert case.program != bench_imagenet.prepare("tiny@2", tmp_path).program


def test_growth_compares_models_of_as_many_images_and_images_of_the_same_model():
    def runs(work: float, one: float, eight: float) -> dict[str, dict[str, float]]:
        return {
            "analytic": {"synaptic_operations": work, "inputs": 1, "wall_s": one, "cpu_s": one},
            "eight": {"synaptic_operations": 8 * work, "inputs": 8, "wall_s": eight, "cpu_s": eight},
        }

    rows = growth({"a": runs(1e9, 1.0, 4.0), "refused": {}, "b": runs(3e9, 6.0, 24.0)})
    assert [row["s per G"] for row in rows] == [1.0, 0.5, 2.0, 1.0]
    assert [row["of the first model"] for row in rows] == [1.0, 1.0, 2.0, 2.0]
    assert [row["of one image"] for row in rows] == [1.0, 0.5, 1.0, 0.5]


def test_tables_align_numbers_and_leave_gaps_as_dashes(capsys):
    table.print_table("T", [{"a": "x", "n": 12345.6}, {"a": "longer", "m": 3}])
    assert capsys.readouterr().out.splitlines()[1:] == [
        "T",
        "  a            n  m",
        "  x       12,346  -",
        "  longer       -  3",
    ]
