"""The imported digits model answers what PyTorch answered after training: logits, predictions, spikes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from compiler.importers import load_model
from compiler.ir.run import GraphRun

DIGITS = Path(__file__).parents[2] / "examples" / "digits"
EXPECTED = json.loads((DIGITS / "expected.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    with np.load(DIGITS / "test_images.npz") as archive:
        return archive["images"]


@pytest.fixture(scope="module")
def run(images: np.ndarray) -> GraphRun:
    return load_model(DIGITS / "spikformer.pt").run(images[: EXPECTED["quick"]["images"]])


def test_logits_equal_pytorch_in_float64(run: GraphRun) -> None:
    expected = np.array(EXPECTED["logits_float64"])
    np.testing.assert_allclose(run.logits[: len(expected)], expected, rtol=1e-9, atol=1e-12)


def test_predictions_equal_pytorch(run: GraphRun) -> None:
    assert run.logits.argmax(axis=1).tolist() == EXPECTED["predictions"][: EXPECTED["quick"]["images"]]


def test_every_neuron_layer_fires_as_often_as_in_pytorch(run: GraphRun) -> None:
    counts = {name: int(spikes.sum()) for name, spikes in run.spikes.items()}
    assert counts == EXPECTED["quick"]["spikes"]


def test_the_shipped_model_is_accurate_and_no_layer_is_silent() -> None:
    labels = np.load(DIGITS / "test_labels.npy")
    assert (np.array(EXPECTED["predictions"]) == labels).mean() == EXPECTED["accuracy"]
    assert EXPECTED["accuracy"] >= 0.98
    assert min(EXPECTED["spikes"].values()) > 0


def test_images_lose_nothing_when_quantised_to_8_bits(images: np.ndarray) -> None:
    assert images.shape == (EXPECTED["images"], 1, 16, 16)
    assert images.dtype == np.float32
    levels = np.rint(images.astype(np.float64) * 255)
    assert np.array_equal((levels / 255).astype(np.float32), images)
    assert (levels.min(), levels.max()) == (0, 255)


def test_shipped_files_stay_below_2_megabytes() -> None:
    assert sum(path.stat().st_size for path in DIGITS.iterdir() if path.is_file()) < 2 * 10**6
