"""Images, recordings and encodings as input: what is read, by which rule, and what is refused."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from neurochip.errors import InputError, MissingExtraError
from neurochip.input_data import Choices, load_data
from neurochip.input_data.encode import encode
from neurochip.input_data.images import Normalisation
from neurochip.network.network import InputSpec

T = 4
RNG = np.random.default_rng(2)


def spec(*shape, kind="analog", high=255):
    return InputSpec(shape=shape, kind=kind, scale=1.0, low=0, high=high)


def save_image(path, pixels, **options):
    image = pytest.importorskip("PIL.Image")
    path.parent.mkdir(exist_ok=True)
    image.fromarray(pixels).save(path, **options)


# images


def test_a_folder_of_images_is_read_in_the_order_of_names(tmp_path):
    pixels = RNG.integers(0, 256, (3, 5, 7, 3), np.uint8)
    for name, image in zip("bac", pixels, strict=True):
        save_image(tmp_path / f"{name}.png", image)
    x, labels = load_data(tmp_path, spec(3, 5, 7), T)
    assert labels is None
    assert x.dtype == np.float32
    np.testing.assert_array_equal(x, np.moveaxis(pixels[[1, 0, 2]], -1, 1).astype(np.float32) / 255)


def test_sub_folders_are_classes_and_normalisation_is_by_channel(tmp_path):
    for name in ("dog/1.png", "cat/2.png", "cat/1.png"):
        save_image(tmp_path / name, np.full((2, 2, 3), 51, np.uint8))
    choices = Choices(normalise=Normalisation.parse("mean=0.1,0.2,0.3,std=0.1,0.2,0.4"), limit=2)
    x, labels = load_data(tmp_path, spec(3, 2, 2), T, choices)
    assert labels is not None
    assert labels.tolist() == [0, 0]
    np.testing.assert_allclose(x[0, :, 0, 0], [1.0, 0.0, -0.25], atol=1e-6)
    assert load_data(tmp_path, spec(3, 2, 2), T)[1].tolist() == [0, 0, 1]


def test_grey_jpeg_is_one_channel(tmp_path):
    save_image(tmp_path / "x.jpg", np.full((8, 8), 255, np.uint8))
    x, _ = load_data(tmp_path, spec(1, 8, 8), T)
    assert x.shape == (1, 1, 8, 8)
    assert x.min() == 1


@pytest.mark.parametrize(
    ("pixels", "words"),
    [
        (np.zeros((4, 5, 3), np.uint8), r"expected 5 x 4 pixels \(height x width\), found 4 x 5; resize"),
        (np.zeros((5, 4), np.uint8), "expected 3 channels, found 1"),
        (np.zeros((5, 4, 4), np.uint8), "without transparency, found mode RGBA"),
        (np.zeros((5, 4), np.uint16), "expected 8-bit grey or colour"),
    ],
    ids=["turned", "grey", "alpha", "16 bits"],
)
def test_images_that_do_not_fit_are_refused_and_not_changed(tmp_path, pixels, words):
    save_image(tmp_path / "x.png", pixels)
    with pytest.raises(InputError, match=words):
        load_data(tmp_path, spec(3, 5, 4), T)


def test_damaged_images_and_odd_folders_are_refused(tmp_path):
    save_image(tmp_path / "x.png", RNG.integers(0, 256, (9, 9, 3), np.uint8))
    whole = (tmp_path / "x.png").read_bytes()
    for length in range(0, len(whole) - 12, 23):
        (tmp_path / "x.png").write_bytes(whole[:length])
        with pytest.raises(InputError, match="expected a whole PNG or JPEG image"):
            load_data(tmp_path, spec(3, 9, 9), T)
    (tmp_path / "x.png").unlink()
    with pytest.raises(InputError, match="found none"):
        load_data(tmp_path, spec(3, 9, 9), T)
    save_image(tmp_path / "a.png", np.zeros((9, 9, 3), np.uint8))
    save_image(tmp_path / "cat" / "b.png", np.zeros((9, 9, 3), np.uint8))
    with pytest.raises(InputError, match=r"expected all files in sub-folders.*found a\.png"):
        load_data(tmp_path, spec(3, 9, 9), T)
    (tmp_path / "cat" / "b.png").unlink()
    with pytest.raises(InputError, match=r"shape \(2, 9, 9\), not grey or colour"):
        load_data(tmp_path, spec(2, 9, 9), T)


@pytest.mark.parametrize(
    "text", ["0.5", "mean=1", "mean=0.5,std=0", "mean=1,2,std=1", "mean=a,std=b", "mean=nan,std=1"]
)
def test_a_normalisation_must_be_whole(text):
    with pytest.raises(InputError, match="expected mean=M,std=S"):
        Normalisation.parse(text)


def test_a_missing_reader_is_named(tmp_path, monkeypatch):
    (tmp_path / "x.png").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(MissingExtraError, match=r"neurochip\[images\]"):
        load_data(tmp_path, spec(3, 2, 2), T)


# recordings

EVENTS = {
    "x": np.array([0, 1, 2, 3, 0, 0]),
    "y": np.array([0, 0, 1, 1, 1, 1]),
    "p": np.array([1, 0, 1, 1, 0, 0]),
    "t": np.array([100, 101, 110, 125, 139, 140]),
}


def frames(x):
    """Events as (step, channel, y, x), with multiplicity."""
    return [tuple(int(i) for i in where) for where in np.argwhere(x[:, 0]) for _ in range(int(x[:, 0][tuple(where)]))]


def test_windows_of_equal_time_and_of_equal_count(tmp_path):
    np.savez(tmp_path / "r.npz", **EVENTS)
    x, _ = load_data(tmp_path / "r.npz", spec(2, 2, 4, kind="spikes"), T)
    assert x.shape == (T, 1, 2, 2, 4)
    assert frames(x) == [(0, 0, 0, 1), (0, 1, 0, 0), (1, 1, 1, 2), (2, 1, 1, 3), (3, 0, 1, 0), (3, 0, 1, 0)]
    x, _ = load_data(tmp_path / "r.npz", spec(2, 2, 4), T, Choices(windows="count"))
    assert [int(n) for n in x.sum(axis=(1, 2, 3, 4))] == [1, 1, 1, 3]
    x, _ = load_data(tmp_path / "r.npz", spec(1, 2, 4), T, Choices(binary=True))
    assert x.max() == 1
    assert x.sum() == 5


def test_hdf5_and_folders_of_recordings(tmp_path):
    h5py = pytest.importorskip("h5py")
    for number, place in enumerate(("", "events/")):
        folder = tmp_path / f"class{number}"
        folder.mkdir()
        with h5py.File(folder / "r.h5", "w") as file:
            for name, values in EVENTS.items():
                file[place + name] = np.where(values == 0, -1, 1) if name == "p" else values
    x, labels = load_data(tmp_path, spec(2, 2, 4), T)
    assert x.shape == (T, 2, 2, 2, 4)
    assert labels.tolist() == [0, 1]
    assert (x[:, 0] == x[:, 1]).all()
    np.savez(tmp_path / "r.npz", **EVENTS)
    assert (load_data(tmp_path / "r.npz", spec(2, 2, 4), T)[0][:, 0] == x[:, 0]).all()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"x": EVENTS["x"] + 1}, r"expected x in 0\.\.3 for a model of 2 x 4, found 1\.\.4"),
        ({"y": EVENTS["y"] - 1}, r"expected y in 0\.\.1"),
        ({"p": EVENTS["p"] + 1}, r"expected polarities 0 and 1, or -1 and 1; found \[1, 2\]"),
        ({"p": EVENTS["p"] - 1}, r"expected polarities 0 and 1, or -1 and 1; found \[-1, 0\]"),
        ({"t": EVENTS["t"][::-1]}, "run backwards after event 0"),
        ({"t": EVENTS["t"][:5]}, r"of one length; found t of shape \(5,\)"),
        ({"t": EVENTS["t"] / 7}, "whole numbers, found t of dtype float64"),
        ({"t": np.full(6, 5)}, "0 units of time cannot be cut into 4 steps"),
        ({name: values[:0] for name, values in EVENTS.items()}, "holds no events"),
    ],
)
def test_recordings_that_do_not_fit_are_refused(tmp_path, change, words):
    np.savez(tmp_path / "r.npz", **{**EVENTS, **change})
    with pytest.raises(InputError, match=words):
        load_data(tmp_path / "r.npz", spec(2, 2, 4), T)


def test_a_recording_needs_a_model_of_event_frames(tmp_path):
    np.savez(tmp_path / "r.npz", **EVENTS)
    with pytest.raises(InputError, match=r"1 or 2, H, W.*takes \(3, 2, 4\)"):
        load_data(tmp_path / "r.npz", spec(3, 2, 4), T)


# encodings and choices


def test_rate_encoding_follows_its_probability_and_its_seed():
    x = np.array([[0.0, 0.25, 1.0]]).repeat(200, axis=0)
    first = encode(x, (3,), 50, "rate", 1)
    assert first.shape == (50, 200, 3)
    assert first[..., 0].max() == 0
    assert first[..., 2].min() == 1
    assert abs(first[..., 1].mean() - 0.25) < 0.02
    np.testing.assert_array_equal(first, encode(x, (3,), 50, "rate", 1))
    assert (first != encode(x, (3,), 50, "rate", 2)).any()


def test_latency_encoding_spikes_once_and_large_values_first():
    x = np.array([[1.0, 0.99, 0.75, 0.5, 0.01, 0.0]])
    spikes = encode(x, (6,), T, "latency", 0)[:, 0]
    assert spikes.sum(axis=0).tolist() == [1, 1, 1, 1, 1, 0]
    assert spikes.argmax(axis=0)[:5].tolist() == [0, 0, 1, 2, 3]


@pytest.mark.parametrize("how", ["rate", "latency"])
def test_only_values_from_0_to_1_are_encoded(how):
    for bad in (1.5, -0.1, np.nan):
        with pytest.raises(InputError, match=r"expected values in 0\.\.1, found"):
            encode(np.array([[0.5, bad]]), (2,), T, how, 0)
    with pytest.raises(InputError, match="has steps already"):
        encode(np.zeros((T, 1, 2)), (2,), T, how, 0)
    with pytest.raises(InputError, match=r"shape \(inputs, 2\), found \(1, 3\)"):
        encode(np.zeros((1, 3)), (2,), T, how, 0)


@pytest.mark.parametrize(
    ("choices", "words"),
    [
        (Choices(normalise=Normalisation(mean=(0.5,), std=(0.5,))), "--normalise is for images, but this is an array"),
        (Choices(windows="count"), "for recordings, but this is an array"),
        (Choices(binary=True), "for recordings, but this is an array"),
    ],
)
def test_choices_that_do_not_apply_are_refused(tmp_path, choices, words):
    np.save(tmp_path / "x.npy", np.zeros((1, 2)))
    with pytest.raises(InputError, match=words):
        load_data(tmp_path / "x.npy", spec(2), T, choices)


def test_a_recording_is_not_encoded(tmp_path):
    np.savez(tmp_path / "r.npz", **EVENTS)
    with pytest.raises(InputError, match="events already; leave --encode rate out"):
        load_data(tmp_path / "r.npz", spec(2, 2, 4), T, Choices(encoding="rate"))
