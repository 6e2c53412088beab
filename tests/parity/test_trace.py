"""A traced model computes what the importer makes of its checkpoint: logits and every spike of every layer."""

import numpy as np
import pytest

from compiler.importers import load_model

torch = pytest.importorskip("torch")

from compiler.importers.trace import trace  # noqa: E402
from tests.bundled_neuron import LIFNode  # noqa: E402
from tests.parity import metaformer_torch, spikformer_torch, spikingresformer_torch  # noqa: E402
from tests.parity.sdt_v3_torch import SpikeDrivenV3  # noqa: E402

torch.set_num_threads(1)  # threads only wait for each other on layers this small


def bundled(threshold=1.0, tau=2.0):
    return LIFNode("m", tau, threshold)


@pytest.fixture(autouse=True)
def neurons(monkeypatch):
    """The reference models with neurons that a trace knows."""
    for module in (spikformer_torch, metaformer_torch, spikingresformer_torch):
        monkeypatch.setattr(module, "LIF", bundled)


def spikformer():
    model = spikformer_torch.Spikformer("spikformer-cifar", steps=3, dim=32, heads=2)
    return model, (3, 16, 16), 3, {"num_heads": "2", "T": "3", "img_size": "16"}


def sdt_v2():
    model = metaformer_torch.MetaSpikeFormer(steps=2, widths=(8, 12, 16, 20), heads=2, distilled=True, blocks=(1, 1))
    return model, (3, 64, 48), 2, {"num_heads": "2", "T": "2", "img_size": "64x48"}


def sdt_v3():
    model = SpikeDrivenV3("small", widths=(8, 12, 16, 24), heads=2, blocks=(1, 1))
    return model, (3, 64, 48), 1, {"num_heads": "2", "img_size": "64x48"}


def spikingresformer():
    sizes = {"planes": (8, 16), "heads": (1, 2), "patches": (4, 2), "repeats": (1, 1)}
    model = spikingresformer_torch.SpikingResformer(steps=3, size=32, large=False, **sizes)
    return model, (3, 32, 32), 3, {"T": "3", "img_size": "32", "TET": "true"}


def at_rest(model):
    for module in model.modules():
        if isinstance(module, LIFNode):
            module.reset()
    return model


@pytest.mark.parametrize("make", [spikformer, sdt_v2, sdt_v3, spikingresformer])
def test_tracing_and_importing_give_the_same_network(make, tmp_path):
    torch.manual_seed(17)
    model, shape, steps, settings = make()
    images = torch.randn(4, *shape)
    spikformer_torch.calibrated(model, images, seed=18)
    torch.save(at_rest(model).state_dict(), tmp_path / "model.pt")
    traced = trace(model, images[:2], steps).run(images[:2].numpy())
    imported = load_model(tmp_path / "model.pt", settings=settings).run(images[:2].numpy())
    np.testing.assert_allclose(traced.logits, imported.logits, rtol=1e-9, atol=1e-9 * np.abs(imported.logits).max())
    assert set(traced.spikes) == set(imported.spikes)
    for key, counts in imported.spikes.items():
        np.testing.assert_array_equal(traced.spikes[key], counts, err_msg=key)
    assert sum(counts.sum() > 0 for counts in imported.spikes.values()) >= len(imported.spikes) - 2
