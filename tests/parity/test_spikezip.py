"""An imported SpikeZIP ViT becomes, after enough steps, the quantised network it was made of."""

import argparse

import numpy as np
import pytest

from compiler.importers import load_model
from neurochip.errors import CheckpointError

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

torch.set_num_threads(1)  # threads only wait for each other on layers this small


class Quantiser(nn.Module):
    """Rounds half up to ``level`` steps; its step fits what it first sees."""

    def __init__(self, level, signed=True):
        super().__init__()
        self.s = nn.Parameter(torch.tensor(0.0))
        self.low, self.high = (-level // 2, level // 2 - 1) if signed else (0, level - 1)

    def forward(self, x):
        if self.s == 0:
            self.s.data = x.detach().abs().max() / self.high
        self.numbers = torch.floor(x / self.s + 0.5).clamp(self.low, self.high)
        return self.numbers * self.s


class Weights(nn.Linear):
    """A linear layer whose weights are quantised to ``bits``."""

    def __init__(self, inputs, outputs, bits):
        super().__init__(inputs, outputs)
        if bits < 32:
            self.quan_w_fn = Quantiser(2**bits)

    def forward(self, x):
        weight = self.quan_w_fn(self.weight) if hasattr(self, "quan_w_fn") else self.weight
        return nn.functional.linear(x, weight, self.bias)


class Attention(nn.Module):
    def __init__(self, width, heads, level, bits, softmax):
        super().__init__()
        self.heads, self.softmax, self.scale = heads, softmax, (width // heads) ** -0.5
        self.qkv, self.proj = Weights(width, 3 * width, bits), Weights(width, width, bits)
        for name in ("quan_q", "quan_k", "quan_v", "after_attn_quan", "quan_proj"):
            setattr(self, name, Quantiser(level))
        self.attn_quan = Quantiser(level, signed=False)

    def forward(self, x):
        q, k, v = self.qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        y = self.quan_q(q) * self.scale @ self.quan_k(k).mT
        y = self.attn_quan(y.softmax(-1)) if self.softmax else self.attn_quan(y) / x.shape[1]
        y = self.after_attn_quan(y @ self.quan_v(v))
        return self.quan_proj(self.proj(y.transpose(1, 2).flatten(2)))


class MLP(nn.Module):
    def __init__(self, width, level, bits):
        super().__init__()
        self.fc1, self.act = Weights(width, 4 * width, bits), nn.Sequential(Quantiser(level, signed=False), nn.ReLU())
        self.fc2 = nn.Sequential(Weights(4 * width, width, bits), Quantiser(level))

    def forward(self, x):
        return self.fc2(self.act(self.fc1(x)))


class Block(nn.Module):
    def __init__(self, width, heads, level, bits, softmax):
        super().__init__()
        self.norm1, self.norm2 = (nn.Sequential(nn.LayerNorm(width), Quantiser(level)) for _ in range(2))
        self.attn, self.mlp = Attention(width, heads, level, bits, softmax), MLP(width, level, bits)

    def forward(self, x):
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class QuantisedViT(nn.Module):
    def __init__(self, *, size=16, patch=8, width=16, heads=2, depth=1, level=8, bits=32, softmax=True, pool=False):
        super().__init__()
        self.patch_embed = nn.Module()
        self.patch_embed.proj = nn.Sequential(nn.Conv2d(3, width, patch, patch), Quantiser(level))
        self.cls_token = nn.Parameter(torch.randn(1, 1, width))
        self.pos_embed = nn.Parameter(torch.randn(1, (size // patch) ** 2 + 1, width))
        self.blocks = nn.Sequential(*(Block(width, heads, level, bits, softmax) for _ in range(depth)))
        self.norm_name = "fc_norm" if pool else "norm"
        setattr(self, self.norm_name, nn.Sequential(nn.LayerNorm(width), Quantiser(level)))
        self.head = Weights(width, 5, bits)

    def forward(self, x):
        x = self.patch_embed.proj(x).flatten(2).mT
        x = self.blocks(torch.cat([self.cls_token.expand(len(x), -1, -1), x], 1) + self.pos_embed)
        norm = getattr(self, self.norm_name)
        return self.head(norm(x[:, 1:].mean(1)) if self.norm_name == "fc_norm" else norm(x)[:, 0])


CASES = {
    "class token": ({"depth": 2}, {}),
    "pooled, coarse": ({"level": 4, "pool": True}, {}),
    "no softmax": ({"softmax": False, "level": 16}, {"remove_softmax": True}),
    "weights of 6 bits": ({"bits": 6}, {"weight_quantization_bit": 6}),
}


def saved(folder, args=None, **sizes):
    """(path, torch model in float64, images) of a small model, saved as upstream's trainer does."""
    torch.manual_seed(13)
    model = QuantisedViT(**sizes).eval()
    images = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        model(images)
    known = {"model": "vit_small_patch16", "level": sizes.get("level", 8), "time_step": 2000, "act_layer": "relu"}
    file = {"model": model.state_dict(), "epoch": 1, "args": argparse.Namespace(**known, **(args or {}))}
    path = folder / "checkpoint-1.pth"
    torch.save(file, path)
    return path, model.double(), images.double()


@pytest.mark.parametrize("name", CASES)
def test_sums_of_spikes_become_the_quantised_activations(name, tmp_path):
    sizes, args = CASES[name]
    path, model, images = saved(tmp_path, args, **sizes)
    with torch.no_grad():
        logits = model(images).numpy()
    graph = load_model(path, settings={"T": "60", "num_heads": "2"})
    run = graph.run(images.numpy(), record="spikes")
    assert graph.name == "spikezip-vit"
    np.testing.assert_allclose(run.logits, logits, rtol=1e-9, atol=1e-9 * np.abs(logits).max())
    renamed = {"quan_q": "q_IF", "quan_k": "k_IF", "quan_v": "v_IF", "quan_proj": "proj_IF"}
    renamed |= {"attn_quan": "attn_IF", "after_attn_quan": "after_attn_IF"}
    seen = set()
    for key, module in model.named_modules():
        if isinstance(module, Quantiser) and not key.endswith("quan_w_fn"):
            head, _, last = key.rpartition(".")
            neurons = f"{head}.{renamed.get(last, last)}"
            sums = run.values[neurons].sum(axis=0).reshape(len(images), -1)
            np.testing.assert_array_equal(sums, module.numbers.flatten(1).numpy(), err_msg=key)
            seen.add(neurons)
    assert seen == set(run.spikes)


def test_steps_and_bits_come_from_the_file(tmp_path):
    path, *_ = saved(tmp_path, {"weight_quantization_bit": 6}, bits=6)
    with pytest.raises(
        CheckpointError, match=r"quan_w_fn\.s': weights are quantised; say --set weight_quantization_bit=BITS"
    ):
        load_model(path, settings={"weight_quantization_bit": "32", "num_heads": "2"})
    found = {s.name: (s.value, s.origin) for s in load_model(path, settings={"T": "4", "num_heads": "2"}).settings}
    assert found["level"] == (8, "file")
    assert found["T"] == (4, "--set")
    assert found["img_size"] == ((16, 16), "tensor shapes")


def test_networks_that_the_conversion_does_not_keep_are_refused(tmp_path):
    path, *_ = saved(tmp_path)
    with pytest.raises(CheckpointError, match=r"setting 'act_layer' from --set: expected .*relu.*, got 'gelu'"):
        load_model(path, settings={"act_layer": "gelu"})
