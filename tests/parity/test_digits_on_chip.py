"""The shipped digits model on Loihi: every test image, every spike, and the accuracy of the float model."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

import neurochip

DIGITS = Path(__file__).parents[2] / "examples" / "digits"


def test_all_test_images_are_exact_and_within_a_point_of_the_float_model() -> None:
    images, labels = np.load(DIGITS / "test_images.npz")["images"], np.load(DIGITS / "test_labels.npy")
    expected = json.loads((DIGITS / "expected.json").read_text())
    program = neurochip.compile(DIGITS / "spikformer.pt", "loihi.yaml")
    result = neurochip.simulate(program, images, labels=labels, check=True)
    facts = result.to_dict()
    assert facts["check"]["exact"] is True
    assert facts["check"]["inputs"] == facts["inputs"] == len(images)
    assert abs(facts["accuracy"] - expected["accuracy"]) <= 0.01
    assert not any(facts["overflows"].values())
    assert facts["chips"] == 1
