"""Input and label files: what is read, and how everything else is refused without executing or unpacking it."""

from __future__ import annotations

import io
import os
import zipfile

import numpy as np
import pytest

import neurochip.inputs
from neurochip.errors import InputError
from neurochip.inputs import load_input, load_labels

X = np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2)


def test_an_npy_file_is_mapped_read_only(tmp_path):
    np.save(tmp_path / "x.npy", X)
    loaded = load_input(tmp_path / "x.npy")
    assert isinstance(loaded, np.memmap)
    assert np.array_equal(loaded, X)
    assert not loaded.flags.writeable


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("arrays", [{"images": X, "extra": X[:1]}, {"x": X, "y": X[:1]}, {"anything": X}])
def test_the_one_array_of_an_npz_file_is_found(save, arrays, tmp_path):
    save(tmp_path / "x.npz", **arrays)
    assert np.array_equal(load_input(tmp_path / "x.npz"), X)


def test_the_content_decides_and_not_the_name(tmp_path):
    with open(tmp_path / "x.dat", "wb") as stream:
        np.save(stream, X)
    assert np.array_equal(load_input(tmp_path / "x.dat"), X)


def test_fortran_order_and_big_endian_numbers_are_read(tmp_path):
    np.savez(tmp_path / "x.npz", x=np.asfortranarray(X.astype(">f8")))
    assert np.array_equal(load_input(tmp_path / "x.npz"), X)


def test_several_arrays_are_named(tmp_path):
    np.savez(tmp_path / "x.npz", train=X, test=X)
    with pytest.raises(InputError) as caught:
        load_input(tmp_path / "x.npz")
    assert "expected one array, or one named 'images' or 'x'; found 2: train, test" in str(caught.value)


def test_an_npz_file_without_arrays_is_refused(tmp_path):
    np.savez(tmp_path / "x.npz")
    with pytest.raises(InputError, match="found 0: none"):
        load_input(tmp_path / "x.npz")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "an empty file"),
        (b"1,2,3\n", "text starting '1,2,3"),
        (b"\x80\x04\x95", "a pickle"),
        (b"\x93NUMPY\x01\x00", "expected a whole .npy file"),
        (b"PK\x03\x04rubbish", "expected a whole .npz file"),
    ],
    ids=["empty", "text", "pickle", "short npy", "short npz"],
)
def test_other_files_are_named(content, words, tmp_path):
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(InputError) as caught:
        load_input(tmp_path / "x")
    assert str(caught.value).startswith(str(tmp_path / "x"))
    assert words in str(caught.value)


def test_missing_files_and_folders_are_named(tmp_path):
    with pytest.raises(InputError, match="found no such file"):
        load_input(tmp_path / "none.npy")
    with pytest.raises(InputError, match="found a folder"):
        load_input(tmp_path)


@pytest.mark.parametrize("container", ["npy", "npz"])
def test_objects_are_never_unpickled(container, tmp_path):
    class Boom:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "pwned"),))

    array = np.empty(1, object)
    array[0] = Boom()
    path = tmp_path / f"x.{container}"
    (np.save if container == "npy" else np.savez)(path, array)
    with pytest.raises(InputError, match="of numbers"):
        load_input(path)
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize("container", ["npy", "npz"])
def test_every_truncation_is_refused(container, tmp_path):
    whole, path = io.BytesIO(), tmp_path / "x"
    (np.save if container == "npy" else np.savez)(whole, X)
    data = whole.getvalue()
    for length in range(0, len(data), 7):
        path.write_bytes(data[:length])
        with pytest.raises(InputError):
            load_input(path)


def test_a_zip_bomb_is_refused_before_it_is_unpacked(tmp_path, monkeypatch):
    np.savez_compressed(tmp_path / "x.npz", x=np.zeros(100_000, np.uint8))
    monkeypatch.setattr(neurochip.inputs, "MAX_UNPACKED_BYTES", 50_000)
    with pytest.raises(InputError, match=r"unpacks to 100,\d+ bytes, above the limit of 50,000"):
        load_input(tmp_path / "x.npz")


def test_a_header_that_claims_more_than_the_file_holds_is_refused(tmp_path):
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "<f8", "fortran_order": False, "shape": (1 << 50,)})
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("x.npy", buffer.getvalue() + b"\0" * 80)
    with pytest.raises(InputError, match="is no array of"):
        load_input(tmp_path / "x.npz")
    (tmp_path / "x.npy").write_bytes(buffer.getvalue() + b"\0" * 80)
    with pytest.raises(InputError, match=r"expected a whole \.npy file"):
        load_input(tmp_path / "x.npy")


def test_labels_are_read_from_either_format(tmp_path):
    y = np.array([1, 2, 3])
    np.save(tmp_path / "y.npy", y)
    np.savez(tmp_path / "both.npz", images=X, labels=y)
    assert load_labels(tmp_path / "y.npy").tolist() == [1, 2, 3]
    assert load_labels(tmp_path / "both.npz").tolist() == [1, 2, 3]
    assert load_input(tmp_path / "both.npz").shape == X.shape


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (np.zeros((3, 10), np.int64), r"one label per input, shape \(inputs,\), found shape \(3, 10\)"),
        (np.zeros(3), "whole-number labels, found dtype float64"),
        (np.array(["cat"]), "whole-number labels, found dtype <U3"),
        (np.array([True]), "whole-number labels, found dtype bool"),
    ],
)
def test_other_labels_are_refused(labels, words, tmp_path):
    np.save(tmp_path / "y.npy", labels)
    with pytest.raises(InputError, match=words):
        load_labels(tmp_path / "y.npy")
