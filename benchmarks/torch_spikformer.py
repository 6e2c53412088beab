"""A Spikformer checkpoint in SpikingJelly 2 on PyTorch: seconds of a forward pass. Needs neither neurochip nor numba.

    PYTHON benchmarks/torch_spikformer.py MODEL.safetensors IMAGES.npy STEPS HEADS THREADS REPEAT

Prints one line of JSON: least wall and CPU seconds after a run to warm up, spikes of every neuron layer, and logits.
Multi-step modules, evaluation mode, no gradients: how people run these models.
"""

from __future__ import annotations

import json
import sys
import time
from importlib.metadata import version

import numpy as np
import torch
from spikingjelly.activation_based import functional, layer, neuron
from torch import Tensor, nn


def lif(threshold: float = 1.0) -> nn.Module:
    """The neuron of all Spikformer layers."""
    return neuron.LIFNode(tau=2.0, v_threshold=threshold, detach_reset=True, step_mode="m")


class Matrix(nn.Module):
    """Convolution of kernel 1 on tokens (ImageNet layout) or a linear layer (CIFAR layout), batch norm, LIF."""

    def __init__(self, weight: Tensor, bias: bool) -> None:
        super().__init__()
        outputs, inputs = weight.shape[:2]
        kinds = {2: nn.Linear, 3: nn.Conv1d, 4: nn.Conv2d}
        arguments = () if weight.dim() == 2 else (1,)
        self.rank = weight.dim()
        self.linear = kinds[self.rank](inputs, outputs, *arguments, bias=bias)
        self.norm = nn.BatchNorm2d(outputs) if self.rank == 4 else nn.BatchNorm1d(outputs)
        self.lif = lif()

    def forward(self, x: Tensor) -> Tensor:
        """(T, B, C, N), or (T, B, N, C) for linear layers."""
        flat = x.flatten(0, 1)
        if self.rank == 2:
            y = self.norm(self.linear(flat).transpose(1, 2)).transpose(1, 2)
        elif self.rank == 4:
            y = self.norm(self.linear(flat.unsqueeze(-1))).squeeze(-1)
        else:
            y = self.norm(self.linear(flat))
        return self.lif(y.unflatten(0, x.shape[:2]).contiguous())


class Spikformer(nn.Module):
    """Stem, blocks and head, built from the tensors of a checkpoint."""

    def __init__(self, tensors: dict[str, Tensor], heads: int, steps: int) -> None:
        super().__init__()
        self.heads, self.steps = heads, steps
        self.conv = "block.0.attn.q_conv.weight" in tensors
        name = "conv" if self.conv else "linear"
        stages = []
        for i in range(4):
            suffix = str(i or "")
            weight = tensors[f"patch_embed.proj_conv{suffix}.weight"]
            stages.append(self._stage(weight, pool=self.conv or i >= 2))
        self.stem = nn.ModuleList(stages)
        self.position = self._stage(tensors["patch_embed.rpe_conv.weight"], pool=False)
        depth = 1 + max(int(key.split(".")[1]) for key in tensors if key.startswith("block."))
        self.blocks = nn.ModuleList()
        for i in range(depth):
            parts = nn.ModuleDict({"attn_lif": lif(0.5)})
            for part in ("attn.q", "attn.k", "attn.v", "attn.proj", "mlp.fc1", "mlp.fc2"):
                key = f"block.{i}.{part}_{name}"
                parts[part.replace(".", "_")] = Matrix(tensors[f"{key}.weight"], f"{key}.bias" in tensors)
            self.blocks.append(parts)
        self.head = nn.Linear(tensors["head.weight"].shape[1], tensors["head.weight"].shape[0])
        self._load(tensors, name)

    @staticmethod
    def _stage(weight: Tensor, pool: bool) -> nn.Sequential:
        outputs, inputs = weight.shape[:2]
        parts = [
            layer.Conv2d(inputs, outputs, 3, padding=1, bias=False, step_mode="m"),
            layer.BatchNorm2d(outputs, step_mode="m"),
            lif(),
        ]
        return nn.Sequential(*parts, *[layer.MaxPool2d(3, 2, 1, step_mode="m")] * pool)

    def _load(self, tensors: dict[str, Tensor], name: str) -> None:
        stages = [(f"patch_embed.proj_{{}}{i or ''}", self.stem[i]) for i in range(4)]
        pairs = [(at.format("conv"), at.format("bn"), s[0], s[1]) for at, s in stages]
        pairs.append(("patch_embed.rpe_conv", "patch_embed.rpe_bn", self.position[0], self.position[1]))
        for i, parts in enumerate(self.blocks):
            for part in ("attn.q", "attn.k", "attn.v", "attn.proj", "mlp.fc1", "mlp.fc2"):
                matrix, at = parts[part.replace(".", "_")], f"block.{i}.{part}"
                pairs.append((f"{at}_{name}", f"{at}_bn", matrix.linear, matrix.norm))
        pairs.append(("head", "", self.head, None))
        with torch.no_grad():
            for key, norm_key, linear, norm in pairs:
                for part, target in (("weight", linear.weight), ("bias", linear.bias)):
                    if target is not None:
                        target.copy_(tensors[f"{key}.{part}"])
                if norm is not None:
                    for part in ("weight", "bias", "running_mean", "running_var"):
                        getattr(norm, part).copy_(tensors[f"{norm_key}.{part}"])

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) to logits (B, classes)."""
        x = images.unsqueeze(0).repeat(self.steps, 1, 1, 1, 1)
        for stage in self.stem:
            x = stage(x)
        x = (x + self.position(x)).flatten(3)
        x = x if self.conv else x.transpose(2, 3)
        for parts in self.blocks:
            x = x + self._attention(parts, x)
            x = x + parts["mlp_fc2"](parts["mlp_fc1"](x))
        return self.head(x.mean(-1 if self.conv else 2).mean(0))

    def _attention(self, parts: nn.ModuleDict, x: Tensor) -> Tensor:
        q, k, v = (self._heads(parts[f"attn_{name}"](x)) for name in "qkv")
        y = (q @ (k.transpose(-2, -1) @ v)) * 0.125 if self.conv else ((q @ k.transpose(-2, -1)) * 0.125) @ v
        y = y.transpose(2, 3).flatten(3)  # (T, B, N, C)
        y = parts["attn_lif"]((y.transpose(2, 3) if self.conv else y).contiguous())
        return parts["attn_proj"](y)

    def _heads(self, x: Tensor) -> Tensor:
        tokens = x.transpose(2, 3) if self.conv else x
        return tokens.unflatten(3, (self.heads, -1)).transpose(2, 3)


def read_safetensors(path: str) -> dict[str, Tensor]:
    """The float32 tensors of a file."""
    data = np.memmap(path, np.uint8, "c")
    length = int.from_bytes(bytes(data[:8]), "little")
    header = json.loads(bytes(data[8 : 8 + length]))
    tensors = {}
    for name, entry in header.items():
        begin, end = (8 + length + offset for offset in entry["data_offsets"])
        tensors[name] = torch.from_numpy(data[begin:end].view(np.float32).reshape(entry["shape"]))
    return tensors


def main(path: str, images: str, steps: int, heads: int, threads: int, repeat: int) -> None:
    """Time forward passes and print the result."""
    torch.set_num_threads(threads)
    model = Spikformer(read_safetensors(path), heads, steps).eval()
    spikes: dict[str, int] = {}
    for name, module in model.named_modules():
        if isinstance(module, neuron.LIFNode):
            module.register_forward_hook(lambda _m, _x, y, name=name: spikes.update({name: int(y.sum())}))
    x = torch.from_numpy(np.load(images))
    walls, cpus = [], []
    with torch.inference_mode():
        logits = model(x)
        functional.reset_net(model)
        for module in model.modules():
            module._forward_hooks.clear()
        for _ in range(repeat):
            begun, worked = time.perf_counter(), time.process_time()
            model(x)
            walls.append(time.perf_counter() - begun)
            cpus.append(time.process_time() - worked)
            functional.reset_net(model)
    versions = {name: version(name) for name in ("torch", "spikingjelly")}
    times = {"wall_s": min(walls), "cpu_s": min(cpus)}
    print(json.dumps({**times, "spikes": spikes, "logits": logits.tolist(), "versions": versions}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:7]))
