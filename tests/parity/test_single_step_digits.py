"""The two shipped single-step models answer what PyTorch answered when they were trained."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import neurochip

DIGITS = Path(__file__).parents[2] / "examples" / "digits"


@pytest.mark.parametrize("name", ["meta", "qk"])
def test_traced_model_answers_as_pytorch_did(name: str) -> None:
    facts = json.loads((DIGITS / "single_step.json").read_text(encoding="utf-8"))[name]
    images = np.load(DIGITS / "test_images.npz")["images"]
    labels = np.load(DIGITS / "test_labels.npy")
    logits = neurochip.load_model(DIGITS / f"{name}.pt").run(images).logits.reshape(len(images), -1)
    listed = np.array(facts["logits_float64"])
    np.testing.assert_allclose(logits[: len(listed)], listed, rtol=1e-9, atol=1e-9)
    assert logits.argmax(axis=1).tolist() == facts["predictions"]
    assert (logits.argmax(axis=1) == labels).mean() == pytest.approx(facts["accuracy"])


@pytest.mark.parametrize("name", ["meta", "qk"])
def test_every_neuron_layer_of_a_shipped_model_fires(name: str) -> None:
    images = np.load(DIGITS / "test_images.npz")["images"]
    run = neurochip.load_model(DIGITS / f"{name}.pt").run(images)
    assert all(counts.any() for counts in run.spikes.values())
