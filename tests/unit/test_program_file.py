"""Program files: what is saved is what is loaded, and nothing damaged, foreign or hostile is ever loaded."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
import zipfile
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from neurochip.errors import ProgramError
from neurochip.network.projections import Projection
from neurochip.program.archive import Member, write_archive
from neurochip.program.file import VERSION, is_program, load_program, save_program
from neurochip.program.validate import TABLES, validate_program
from tests.hand_programs import image_network, naive_program, spike_network

ROOT = Path(__file__).parents[2]


def same(a, b):
    """Deep equality that compares arrays by value, dtype and shape."""
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and np.array_equal(a, b)
    if isinstance(a, tuple | list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, Projection):
        return type(a) is type(b) and all(same(getattr(a, f.name), getattr(b, f.name)) for f in fields(a))
    return type(a) is type(b) and a == b


@pytest.mark.parametrize("network", [image_network(), spike_network()], ids=lambda n: n.name)
def test_what_is_saved_is_what_is_loaded(network, tmp_path):
    program = naive_program(network)
    save_program(program, tmp_path / "a.ncp")
    loaded = load_program(tmp_path / "a.ncp")
    for field in fields(program):
        if field.name != "network":
            assert same(getattr(program, field.name), getattr(loaded, field.name)), field.name
    for field in fields(network):
        assert same(getattr(network, field.name), getattr(loaded.network, field.name)), field.name
    assert loaded.bundles == program.bundles
    assert loaded.chip.digest == program.chip.digest
    x = np.random.default_rng(1).integers(0, 2, (2, *network.input.shape))
    x = np.stack([x] * network.timesteps) if network.input.kind == "spikes" else x
    assert np.array_equal(loaded.network.run(x).readout, network.run(x).readout)


def test_same_program_gives_same_bytes(program, saved, tmp_path):
    save_program(load_program(saved), tmp_path / "again.ncp")
    save_program(naive_program(image_network()), tmp_path / "rebuilt.ncp")
    assert (tmp_path / "again.ncp").read_bytes() == saved.read_bytes()
    assert (tmp_path / "rebuilt.ncp").read_bytes() == saved.read_bytes()


def test_another_process_gives_same_bytes(saved, tmp_path):
    code = (
        "import sys; from tests.hand_programs import *; from neurochip.program.file import save_program\n"
        "save_program(naive_program(image_network()), sys.argv[1])"
    )
    env = {**os.environ, "PYTHONHASHSEED": "77"}
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "b.ncp")], check=True, cwd=ROOT, env=env)
    assert (tmp_path / "b.ncp").read_bytes() == saved.read_bytes()


def test_loaded_arrays_are_read_only(saved):
    program = load_program(saved)
    for name in TABLES:
        assert not getattr(program, name).flags.writeable, name
    for projection in program.network.projections:
        weight = getattr(projection, "weight", None)
        if isinstance(weight, np.ndarray):
            assert not weight.flags.writeable, projection.name


def test_shared_weights_are_stored_once_and_stay_shared(saved):
    program = load_program(saved)
    by_name = {p.name: p for p in program.network.projections}
    assert by_name["q.w"].weight is by_name["k.w"].weight
    assert by_name["q.w"].weight is not by_name["v.w"].weight
    with zipfile.ZipFile(saved) as archive:
        names = [n for n in archive.namelist() if n.startswith("weights/")]
    arrays = [
        v
        for p in program.network.projections
        for v in (getattr(p, f.name) for f in fields(p))
        if isinstance(v, np.ndarray)
    ]
    assert len(names) == len(arrays) - 1


def test_views_and_odd_layouts_are_saved_by_value(program, tmp_path):
    network = program.network
    projections = list(network.projections)
    index = next(i for i, p in enumerate(projections) if p.name == "v.w")
    weight = projections[index].weight
    projections[index] = replace(projections[index], weight=np.asfortranarray(weight))
    odd = replace(program, network=replace(network, projections=tuple(projections)))
    save_program(odd, tmp_path / "odd.ncp")
    assert np.array_equal(load_program(tmp_path / "odd.ncp").network.projections[index].weight, weight)


def test_floats_keep_every_bit(saved, program):
    loaded = load_program(saved)
    assert loaded.network.readout.bias == program.network.readout.bias
    assert loaded.placement_costs == program.placement_costs
    assert list(loaded.placement_costs) == list(program.placement_costs)


def test_file_size_is_weights_and_little_more(tmp_path):
    network = spike_network(sizes=(1024, 2048, 1024, 10))
    weight_bytes = sum(p.weight.nbytes for p in network.projections)
    save_program(naive_program(network, channels=256), tmp_path / "big.ncp")
    assert os.path.getsize(tmp_path / "big.ncp") < weight_bytes + 40_000


def test_a_program_is_recognised_by_content(saved, tmp_path):
    (tmp_path / "x").write_bytes(b"PK\x03\x04 and so on")
    assert is_program(saved)
    assert not is_program(tmp_path / "x")


# Damage


def test_every_flipped_byte_is_found(saved, tmp_path):
    data = bytearray(saved.read_bytes())
    rng = np.random.default_rng(2)
    end = len(data)
    places = {*range(60), *range(end - 400, end), *rng.integers(0, end, 400).tolist()}
    path = tmp_path / "flipped.ncp"
    for place in sorted(places):
        bit = int(rng.integers(1, 256))
        data[place] ^= bit
        path.write_bytes(data)
        with pytest.raises(ProgramError) as caught:
            load_program(path)
        assert str(caught.value).startswith(str(path)), place
        data[place] ^= bit


def test_every_truncation_is_found(saved, tmp_path):
    data = saved.read_bytes()
    path = tmp_path / "short.ncp"
    for length in [*range(40), *range(40, len(data), 997), len(data) - 65, len(data) - 64, len(data) - 1]:
        path.write_bytes(data[:length])
        with pytest.raises(ProgramError) as caught:
            load_program(path)
        assert str(path) in str(caught.value)


def test_appended_bytes_are_found(saved, tmp_path):
    (tmp_path / "long.ncp").write_bytes(saved.read_bytes() + b"\0")
    with pytest.raises(ProgramError, match=r"long\.ncp"):
        load_program(tmp_path / "long.ncp")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "an empty file"),
        (b"hello, this is not a program\n", "text starting 'hello, this"),
        (b"\x80\x02}q\x00.", "a pickle"),
        (b"\x93NUMPY\x01\x00v\x00", "a NumPy array"),
        (b"\x00\x01\x02\x03", "bytes starting 00 01 02 03"),
        (b"PK\x03\x04" + b"\x00" * 100, "no readable zip directory"),
    ],
    ids=["empty", "text", "pickle", "npy", "binary", "broken zip"],
)
def test_other_files_are_named(content, words, tmp_path):
    path = tmp_path / "other.ncp"
    path.write_bytes(content)
    with pytest.raises(ProgramError) as caught:
        load_program(path)
    assert str(path) in str(caught.value)
    assert words in str(caught.value)
    assert "neurochip compile" in str(caught.value)


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"archive/data.pkl": b"x"}, "a PyTorch checkpoint; compile it first"),
        ({"x.npy": b"x"}, r"a NumPy .npz file"),
        ({"README": b"x"}, "a zip archive without a manifest.json"),
        ({"manifest.json": b"{"}, "a manifest.json that is no JSON"),
        ({"manifest.json": b"[" * 100_000}, "a manifest.json that is no JSON"),
        ({"manifest.json": b'{"format": "epub"}'}, "not of format 'neurochip program'"),
        ({"manifest.json": b"[1]"}, "not of format 'neurochip program'"),
    ],
)
def test_other_zips_are_named(members, words, tmp_path):
    path = tmp_path / "other.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    with pytest.raises(ProgramError) as caught:
        load_program(path)
    assert words in str(caught.value)


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    with pytest.raises(ProgramError, match="cannot open the program: no such file"):
        load_program(tmp_path / "none.ncp")
    with pytest.raises(ProgramError, match="a folder or a device"):
        load_program(tmp_path)


# Forgery: files whose digests are right but whose content is not


def forge(saved, path, edit):
    """Write ``saved`` again with its manifest (a dict) and arrays (name -> array) changed by ``edit``, sealed anew."""
    with zipfile.ZipFile(saved) as archive:
        manifest = json.loads(archive.read("manifest.json"))
        arrays = {n: np.load(io.BytesIO(archive.read(n))) for n in manifest["members"]}
    edit(manifest, arrays)
    members = [Member.of(name, array) for name, array in arrays.items()]
    if manifest["members"] is not None:
        manifest["members"] = {m.name: m.digest for m in members}
    with open(path, "wb+") as stream:
        write_archive(stream, json.dumps(manifest).encode(), members)


def test_a_newer_version_says_so(saved, tmp_path):
    path = tmp_path / "newer.ncp"
    forge(saved, path, lambda m, _: m.update(version=VERSION + 1, new_entry=1))
    with pytest.raises(ProgramError) as caught:
        load_program(path)
    assert f"expected format version {VERSION} or older, found {VERSION + 1}" in str(caught.value)
    assert "upgrade" in str(caught.value)


def as_version_1(routes):
    """An edit of ``forge``: the file as the first version wrote it, with this table of routes."""

    def edit(manifest, arrays):
        manifest["version"] = 1
        arrays["tables/routes.npy"] = routes

    return edit


def test_files_of_version_1_are_read_if_they_list_the_routes_that_follow_from_their_ports(program, saved, tmp_path):
    path = tmp_path / "old.ncp"
    forge(saved, path, as_version_1(program.routes))
    assert np.array_equal(load_program(path).routes, program.routes)
    forge(saved, path, as_version_1(program.routes[1:]))
    with pytest.raises(ProgramError, match=r"expected the \d+ routes that follow from tiles and ports, found \d+"):
        load_program(path)
    forge(saved, path, lambda m, _: m.update(version=1))
    with pytest.raises(ProgramError, match=r"found no member 'tables/routes\.npy'"):
        load_program(path)


def _first_projection(manifest, **changes):
    manifest["program"]["network"]["projections"][1].update(changes)


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda m, a: m.update(version=0), "unexpected entries"),
        (lambda m, a: m.update(extra=1), "unexpected entries"),
        (lambda m, a: m["program"].pop("origin"), "does not have the entries"),
        (lambda m, a: m["program"]["origin"].update(seed="0"), "origin.seed: expected int, found '0'"),
        (lambda m, a: m["program"]["origin"].update(seed=True), "origin.seed: expected int, found True"),
        (lambda m, a: m["program"]["origin"].update(extra=1), "missing or unknown: extra"),
        (lambda m, a: m["program"]["network"].update(timesteps=1 << 40), "timesteps: expected 1 to"),
        (lambda m, a: m["program"]["network"]["populations"][0].update(height=1 << 30), "fewer than 2**31 neurons"),
        (lambda m, a: m["program"]["network"]["populations"][0]["neuron"].update(kind="x"), "expected one of lif"),
        (lambda m, a: m["program"]["chip"].update(name="Bad Name"), "chip.name: "),
        (lambda m, a: m["program"]["chip"].update(title="Other"), "does not match its SHA-256"),
        (lambda m, a: _first_projection(m, kind="magic"), "expected one of dense, conv"),
        (lambda m, a: _first_projection(m, weight="weights/99999.npy"), "expected a member 'weights/99999.npy'"),
        (lambda m, a: _first_projection(m, weight="tables/cores.npy"), "expected an array of int8"),
        (lambda m, a: _first_projection(m, target="nowhere"), "expected names of populations, found 'nowhere'"),
        (lambda m, a: a.update({"weights/00002.npy": a["weights/00002.npy"][..., :-1]}), "expected weights of shape"),
        (lambda m, a: a.pop("tables/tiles.npy"), "expected a member 'tables/tiles.npy'"),
        (lambda m, a: a.update({"tables/tiles.npy": np.zeros(3)}), "table 'tiles': expected rows of"),
        (lambda m, a: m.update(members=None), "other members than the manifest lists"),
        (lambda m, a: m["program"].update(placement_costs={"x": float("inf")}), "expected finite numbers"),
        (lambda m, a: m["program"].update(lower_bound_cores=-1), "lower_bound_cores"),
    ],
)
def test_forged_content_is_refused(edit, words, saved, tmp_path):
    path = tmp_path / "forged.ncp"
    forge(saved, path, edit)
    with pytest.raises(ProgramError) as caught:
        load_program(path)
    assert str(path) in str(caught.value)
    assert words in str(caught.value)


def test_a_compressed_member_is_refused_before_it_is_unpacked(saved, tmp_path):
    path = tmp_path / "bomb.ncp"
    with zipfile.ZipFile(saved) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
        new.writestr("weights/bomb.npy", b"\0" * 50_000_000)
    with pytest.raises(ProgramError, match="is compressed or encrypted"):
        load_program(path)


def test_a_pickled_array_is_never_unpickled(saved, tmp_path):
    path = tmp_path / "pickle.ncp"

    class Boom:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "pwned"),))

    buffer = io.BytesIO()
    np.save(buffer, np.array([Boom()], object), allow_pickle=True)
    with zipfile.ZipFile(saved) as old, open(path, "wb+") as stream:
        manifest = json.loads(old.read("manifest.json"))
        name = next(iter(manifest["members"]))
        manifest["members"] = {name: hashlib.sha256(buffer.getvalue()).hexdigest()}
        with zipfile.ZipFile(stream, "w") as new:
            new.comment = b"0" * 64
            new.writestr("manifest.json", json.dumps(manifest))
            new.writestr(name, buffer.getvalue())
        end = stream.seek(0, 2) - 64
        stream.seek(0)
        seal = hashlib.sha256(stream.read(end)).hexdigest().encode()
        stream.seek(end)
        stream.write(seal)
    with pytest.raises(ProgramError, match=r"is no plain \.npy array"):
        load_program(path)
    assert not (tmp_path / "pwned").exists()


# Tables


def spoiled(program, table, row, column, value):
    rows = getattr(program, table).copy()
    rows[column][row] = value
    return replace(program, **{table: rows})


@pytest.mark.parametrize(
    ("table", "column", "value", "words"),
    [
        ("cores", "kind", 7, "cores: row 0 kind must be 0 to 3"),
        ("cores", "x", 96, "cores: row 0 x must be 0 to 95"),
        ("cores", "chip", -1, "cores: row 0 chip must be"),
        ("cores", "slot", 4, "slot 4 on routers of 4 neuron cores"),
        ("tiles", "population", 99, "tiles: row 0 population must be 0 to 10"),
        ("tiles", "core", 99, "tiles: row 0 core must be"),
        ("tiles", "y1", 0, "tiles: row 0 is empty or outside its population"),
        ("tiles", "c1", 5, "tiles: row 0 is empty or outside"),
        ("tiles", "y0", 1, "tiles of population 'stem': expected 144 neurons in all"),
        ("ports", "bundle", -1, "ports: row 0 bundle must be"),
        ("ports", "y1", 7, "ports: row 0 is empty or outside its bundle"),
        ("ports", "core", 0, "uses a port of another core"),
        ("synapses", "projection", 99, "synapses: row 0 projection must be"),
        ("synapses", "projection", 1, "feeds a tile of another population"),
        ("synapses", "port", 0, "needs a port exactly where it has sources"),
        ("tiles", "x1", 3, "tiles of population 'stem': expected 144 neurons in all"),
        ("use", "neurons", -1, "use: row 0 neurons must be"),
    ],
)
def test_a_wrong_table_entry_is_refused(table, column, value, words, program, tmp_path):
    with pytest.raises(ProgramError) as caught:
        validate_program(spoiled(program, table, 0, column, value))
    assert words in str(caught.value)
    with pytest.raises(ProgramError):
        save_program(spoiled(program, table, 0, column, value), tmp_path / "x.ncp")
    assert list(tmp_path.iterdir()) == []


def test_wrong_dtypes_and_lengths_are_refused(program):
    with pytest.raises(ProgramError, match="tiles: expected rows of"):
        validate_program(replace(program, tiles=program.tiles["core"]))
    with pytest.raises(ProgramError, match=r"use: expected one row a core \(37\), found 36"):
        validate_program(replace(program, use=program.use[1:]))
