"""What is not spiking about a model, derived from its graph, against the survey's table and the documentation."""

import re
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import neurochip
from compiler.importers import FAMILIES, load_model
from compiler.ir.survey import survey
from neurochip.cli.main import cli

torch = pytest.importorskip("torch")
from tests.parity import (  # noqa: E402  # noqa: E402
    test_qkformer,
    test_resnets,
    test_sdt_v1,
    test_sdt_v2,
    test_spikformer,
    test_spikformer_v2,
    test_spikingformer,
    test_stack,
)

DOCS = Path(__file__).parents[2] / "docs" / "supported-models.md"

SURVEY = {
    "Spikformer": ("addition", "addition", "integers", "addition"),
    "Spikformer V2": ("addition", "addition", "integers", "addition"),
    "Spikingformer": ("addition", "addition", "real values", "addition"),
    "Spikingformer-CML": ("addition", "addition", "real values", "addition & real-valued max-pool"),
    "Spike-driven Transformer V1": (
        "addition",
        "mask & addition",
        "real values",
        "addition & real-valued max-pool",
    ),
    "Spike-driven Transformer V2": ("addition", "mask & addition", "real values", "addition"),
    "QKFormer": ("addition", "mask & addition", "learnable weights", "addition & real-valued max-pool"),
}
"""Hu et al., arXiv:2409.02111, table 5; "real-values" and "integer" in one spelling."""

OTHERWISE = {"Spike-driven Transformer V2"}
"""Rows where the graph says otherwise; the documentation says why."""


def v2(folder, *, kind=3, **settings):
    path, _, _ = test_sdt_v2.saved(folder, steps=2, kind=kind)
    return path, None, {"num_heads": "2", "img_size": "64x48", **settings}


MERGED = {"rep_conv": "merged", "sep_conv": "merged"}
MODELS = {
    "Spikformer": lambda f: (test_spikformer.saved("imagenet", f)[0], None, {"num_heads": "2"}),
    "Spikformer V2": lambda f: (test_spikformer_v2.case("add", f)[0], None, {}),
    "Spikformer V2, IAND": lambda f: (test_spikformer_v2.case("iand", f)[0], None, {}),
    "Spikingformer": lambda f: (test_spikingformer.case("imagenet", f)[0], "spikingformer", {}),
    "Spikingformer-CML": lambda f: (test_spikingformer.case("imagenet", f)[0], "spikingformer-cml", {}),
    "Spike-driven Transformer V1": lambda f: (test_sdt_v1.case("four pools", f)[0], None, {}),
    "Spike-driven Transformer V2": v2,
    "Spike-driven Transformer V2, merged": lambda f: v2(f, **MERGED),
    "Spike-driven Transformer V2, SDSA-1, merged": lambda f: v2(f, kind=1, sdsa="1", **MERGED),
    "QKFormer": lambda f: (test_qkformer.case("imagenet", f)[0], None, {"num_heads": "4"}),
}


def row(name, folder):
    path, arch, settings = MODELS[name](folder)
    found = survey(load_model(path, arch=arch, settings=settings))
    return (found.stacked, found.attention, found.residual, found.embedding), found


def documented():
    text = DOCS.read_text(encoding="utf-8").partition("| model | stacked / MLP |")[2].partition("\n\n")[0]
    cells = [[cell.strip() for cell in line.strip("| ").split("|")] for line in text.splitlines()[2:]]
    return {name: tuple(words) for name, *words in cells}


@pytest.mark.parametrize("name", MODELS)
def test_the_graph_says_what_the_survey_and_the_documentation_say(name, tmp_path):
    words, found = row(name, tmp_path)
    assert words == documented()[name]
    if name in SURVEY:
        assert (words == SURVEY[name]) == (name not in OTHERWISE)
    assert bool(found.counts) == (name in ("Spikformer", "Spikformer V2", "QKFormer"))


def test_every_row_of_the_documentation_is_checked():
    assert set(documented()) == set(MODELS)
    assert set(SURVEY) <= set(MODELS)


def test_the_layers_that_are_not_additions_are_named(tmp_path):
    _, found = row("Spike-driven Transformer V2", tmp_path)
    assert "ConvBlock1_1.0.Conv.pwconv2" in found.reals
    assert "block3.0.attn.q_conv.0.body.2.0" in found.reals
    assert found.to_dict()["residual"] == "real values"
    _, found = row("Spikformer", tmp_path)
    assert found.reals == ("patch_embed.proj_conv", "head")
    assert "block.1.mlp.fc1_conv" in found.counts


def test_networks_without_attention(tmp_path):
    path, _, _ = test_resnets.sew("iand", tmp_path)
    found = survey(load_model(path, settings={"img_size": "32"}))
    assert (found.stacked, found.attention, found.residual) == ("addition", "none", "learnable weights")
    model = test_stack.Net(layer=[test_stack.strong(9, 6), test_stack.LIF(), test_stack.strong(6, 4)])
    torch.save(model.state_dict(), tmp_path / "mlp.pt")
    found = survey(load_model(tmp_path / "mlp.pt", settings={"layers": "linear lif linear"}))
    assert (found.stacked, found.attention, found.residual, found.embedding) == ("addition", "none", "none", "none")


def test_every_family_is_in_the_documentation():
    table = DOCS.read_text(encoding="utf-8").partition("## Families")[2].partition("\n## ")[0]
    cells = [line.split("|")[1] for line in table.splitlines() if line.startswith("|")]
    named = {name for cell in cells for name in re.findall(r"`([^`]+)`", cell)}
    assert named == {"--arch"} | {family.name for family in FAMILIES}


def test_inspect_shows_what_is_not_spiking(tmp_path):
    path, _, _ = test_spikingformer.case("imagenet", tmp_path)
    refused = CliRunner().invoke(cli, ["inspect", str(path)])
    assert "--arch spikingformer or --arch spikingformer-cml" in refused.stderr
    result = CliRunner().invoke(cli, ["inspect", str(path), "--arch", "spikingformer-cml", "--set", "T=2"])
    assert result.exit_code == 0, result.output
    for words in ("real-valued max-pool", "real values", "num_heads", "--set", "default", "tensor shapes"):
        assert words in result.stdout


def test_averaged_weights_are_taken_if_asked_for(tmp_path):
    path, model, images = test_spikformer.saved("cifar", tmp_path)
    state = model.float().state_dict()
    averaged = {key: value + (key == "head.bias") for key, value in state.items()}
    args = torch.load(path, weights_only=False)["args"]
    torch.save({"state_dict": state, "state_dict_ema": averaged, "args": args}, path)
    last, mean = (neurochip.load_model(path, ema=ema).run(images.numpy()).logits for ema in (False, True))
    np.testing.assert_allclose(mean - last, 1, rtol=1e-6)
