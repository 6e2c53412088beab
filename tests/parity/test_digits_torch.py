"""The training example's PyTorch model still reads the shipped checkpoint and answers as it did after training."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.torch
DIGITS = Path(__file__).parents[2] / "examples" / "digits"


def test_model_loads_the_checkpoint_strictly_and_repeats_its_logits() -> None:
    torch = pytest.importorskip("torch")
    spec = importlib.util.spec_from_file_location("digits_model", DIGITS / "model.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    checkpoint = torch.load(DIGITS / "spikformer.pt", weights_only=False)
    names = ("in_channels", "num_classes", "dim", "num_heads", "layer", "mlp_ratio", "time_step")
    model = module.Spikformer(**{name: getattr(checkpoint["args"], name) for name in names})
    model.load_state_dict(checkpoint["state_dict"])
    expected = np.array(json.loads((DIGITS / "expected.json").read_text(encoding="utf-8"))["logits_float64"])
    with np.load(DIGITS / "test_images.npz") as archive:
        images = torch.from_numpy(archive["images"][: len(expected)]).double()
    with torch.no_grad():
        found = model.double().eval()(images).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)
