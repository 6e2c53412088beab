"""Train a small Spikformer on scikit-learn's handwritten digits and write everything the example ships.

    pip install "neurochip[torch]" scikit-learn
    python examples/digits/train.py

Writes spikformer.pt (the checkpoint, as timm's saver lays it out), test_images.npz, test_labels.npy and expected.json
(what the PyTorch model answers in float64, for the importer's parity test). Deterministic for a seed on one machine.
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from pathlib import Path

import numpy as np
import torch
from model import LIF, Spikformer
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn
from torch.nn import functional

IMAGE_SIZE = 16
TEST_IMAGES = 360
SPLIT_SEED = 0
LOGIT_IMAGES = 8
QUICK_IMAGES = 40  # spikes of these are listed apart, for tests in a hurry
TRAINING_BITS = 6  # coarser than the 8 bits of the chips, for margin
ARCHITECTURE = {
    "in_channels": 1,
    "num_classes": 10,
    "dim": 64,
    "num_heads": 4,
    "layer": 2,
    "mlp_ratio": 4,
    "time_step": 4,
}


def upsample(digits: NDArray[np.float64]) -> NDArray[np.float32]:
    """Bilinear 2x upsampling of (n, 8, 8) images with values 0..16 to (n, 1, 16, 16) in [0, 1].

    In whole numbers, as 8-bit images are: every value is k / 255, so quantising the input to 8 bits loses nothing.
    """
    x = np.pad(digits.astype(np.int64), ((0, 0), (1, 1), (1, 1)), mode="edge")
    for axis in (1, 2):
        x = np.moveaxis(x, axis, 0)
        pairs = np.stack([3 * x[1:-1] + x[:-2], 3 * x[1:-1] + x[2:]], axis=1)
        x = np.moveaxis(pairs.reshape(-1, *x.shape[1:]), 0, axis)
    levels = (x * 255 + 128) // 256  # 16 grey levels times 4 * 4 interpolation weights = 256
    return (levels[:, None] / 255).astype(np.float32)


def load_data() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Training images and labels, test images and labels: a fixed stratified split with 360 test images."""
    digits = load_digits()
    split = train_test_split(
        upsample(digits.images),
        digits.target.astype(np.int64),
        test_size=TEST_IMAGES,
        stratify=digits.target,
        random_state=SPLIT_SEED,
    )
    train_x, test_x, train_y, test_y = (torch.from_numpy(part) for part in split)
    return train_x, train_y, test_x, test_y


def augment(images: Tensor) -> Tensor:
    """Random rotation (to 12 degrees), scale and shear (to 12 %) and shift (to 1.2 pixels) of (B, C, H, W)."""
    n = len(images)
    angle = (torch.rand(n) - 0.5) * 2 * np.deg2rad(12)
    scale = 1 + (torch.rand(n, 2) - 0.5) * 0.24
    shear = (torch.rand(n) - 0.5) * 0.24
    rotation = torch.stack([angle.cos(), shear - angle.sin(), angle.sin(), angle.cos()], dim=1).view(n, 2, 2)
    shift = (torch.rand(n, 2, 1) - 0.5) * 2 * 1.2 * 2 / IMAGE_SIZE
    grid = functional.affine_grid(
        torch.cat([rotation * scale[:, None], shift], dim=2), list(images.shape), align_corners=False
    )
    return functional.grid_sample(images, grid, align_corners=False)


def initialise(model: Spikformer) -> None:
    """Start q, k and v at high rates: the attention neuron needs q k^T v to reach 8, and 16 tokens sum slowly."""
    for block in model.block:
        for norm in (block.attn.q_bn, block.attn.k_bn, block.attn.v_bn):
            nn.init.constant_(norm.bias, 0.6)


def fold_and_round(model: nn.Module, bits: int) -> None:
    """Round each weight, times its batch-norm gain, to ``bits`` bits with one scale a layer, in place."""
    modules = dict(model.named_modules())
    with torch.no_grad():
        for name, layer in modules.items():
            if not isinstance(layer, nn.Conv2d | nn.Linear):
                continue
            norm = modules.get(name.replace("_conv", "_bn").replace("_linear", "_bn"))
            gain = torch.ones(len(layer.weight))
            if isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d):
                gain = norm.weight / (norm.running_var + norm.eps).sqrt()
            gain = gain.view(-1, *[1] * (layer.weight.ndim - 1))
            folded = layer.weight * gain
            step = folded.abs().max() / (2 ** (bits - 1) - 1)
            layer.weight.copy_((folded / step).round() * step / gain)


@torch.no_grad()
def logits(model: nn.Module, images: Tensor) -> Tensor:
    """Logits (n, classes) in evaluation mode."""
    model.eval()
    return torch.cat([model(batch) for batch in images.split(120)])


def accuracy(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Fraction of images whose largest logit is the label."""
    return (logits(model, images).argmax(1) == labels).double().mean().item()


def step_loss(model: Spikformer, images: Tensor, labels: Tensor, rounded: bool) -> Tensor:
    """Loss of one batch with its gradients in place; ``rounded`` takes both at the rounded weights.

    The gradient at the rounded weights moves the float weights (straight-through estimator).
    """
    kept = [parameter.detach().clone() for parameter in model.parameters()]
    if rounded:
        fold_and_round(model, TRAINING_BITS)
    loss = functional.cross_entropy(model(augment(images)), labels, label_smoothing=0.1)
    loss.backward()
    with torch.no_grad():
        for parameter, value in zip(model.parameters(), kept, strict=True):
            parameter.copy_(value)
    return loss.detach()


def train(model: Spikformer, args: argparse.Namespace, data: tuple[Tensor, Tensor, Tensor, Tensor]) -> None:
    """AdamW with a one-cycle learning rate, the last third with rounded weights. Prints a line an epoch."""
    train_x, train_y, test_x, test_y = data
    groups = [
        {"params": [p for p in model.parameters() if p.ndim > 1], "weight_decay": args.weight_decay},
        {"params": [p for p in model.parameters() if p.ndim <= 1], "weight_decay": 0.0},
    ]
    optimiser = torch.optim.AdamW(groups, lr=args.lr)
    batches = len(train_x) // args.batch
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, args.lr, args.epochs * batches, pct_start=0.15)
    for epoch in range(args.epochs):
        model.train()
        start, total = time.perf_counter(), 0.0
        for batch in torch.randperm(len(train_x))[: batches * args.batch].view(batches, -1):
            optimiser.zero_grad()
            total += step_loss(model, train_x[batch], train_y[batch], rounded=3 * epoch >= 2 * args.epochs).item()
            optimiser.step()
            schedule.step()
        print(
            f"epoch {epoch + 1:3d}/{args.epochs}  loss {total / batches:.3f}  "
            f"test accuracy {accuracy(model, test_x, test_y):.4f}  {time.perf_counter() - start:.1f} s",
            flush=True,
        )


def spike_counts(model: nn.Module, images: Tensor) -> dict[str, tuple[int, int]]:
    """Module path of each neuron layer -> (spikes, neurons times steps) over all images."""
    counts: dict[str, tuple[int, int]] = {}

    def record(name: str, spikes: Tensor) -> None:
        fired, size = counts.get(name, (0, 0))
        counts[name] = (fired + int(spikes.sum()), size + spikes.numel())

    hooks = [
        module.register_forward_hook(lambda _module, _args, output, name=name: record(name, output))
        for name, module in model.named_modules()
        if isinstance(module, LIF)
    ]
    logits(model, images)
    for hook in hooks:
        hook.remove()
    return counts


def expected(model: Spikformer, images: Tensor, labels: Tensor) -> dict[str, object]:
    """What expected.json holds: accuracy, logits of the first images, spikes of each layer; leaves float64 on."""
    model.float()
    single, single_accuracy = logits(model, images[:LOGIT_IMAGES]), accuracy(model, images, labels)
    model.double()
    counts = spike_counts(model, images.double())
    return {
        "images": len(images),
        "timesteps": model.steps,
        "accuracy": accuracy(model, images.double(), labels),
        "accuracy_float32": single_accuracy,
        "logits_float32": single.tolist(),
        "logits_float64": logits(model, images[:LOGIT_IMAGES].double()).tolist(),
        "spikes": {name: fired for name, (fired, _) in counts.items()},
        "predictions": logits(model, images.double()).argmax(1).tolist(),
        "quick": {
            "images": QUICK_IMAGES,
            "spikes": {name: fired for name, (fired, _) in spike_counts(model, images[:QUICK_IMAGES].double()).items()},
        },
        "rates": {name: fired / size for name, (fired, size) in counts.items()},
    }


def save(model: Spikformer, args: argparse.Namespace, data: tuple[Tensor, Tensor, Tensor, Tensor]) -> dict[str, object]:
    """Write the four files to ``args.out``; returns the contents of expected.json."""
    _, _, test_x, test_y = data
    facts = expected(model, test_x, test_y)
    model.float()
    options = argparse.Namespace(
        model="spikformer",
        T=model.steps,
        img_size=IMAGE_SIZE,
        patch_size=4,
        input_low=0.0,
        input_high=1.0,
        epochs=args.epochs,
        seed=args.seed,
        **ARCHITECTURE,
    )
    checkpoint = {
        "epoch": args.epochs - 1,
        "arch": "spikformer",
        "state_dict": model.state_dict(),
        "version": 2,
        "args": options,
        "metric": 100 * float(facts["accuracy"]),
    }
    args.out.mkdir(parents=True, exist_ok=True)
    torch.save(checkpoint, args.out / "spikformer.pt")
    np.savez_compressed(args.out / "test_images.npz", images=test_x.numpy())
    np.save(args.out / "test_labels.npy", test_y.numpy())
    (args.out / "expected.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    return facts


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0, help="weights, batches and augmentation; the split is fixed")
    parser.add_argument("--lr", type=float, default=3e-3, help="peak learning rate")
    parser.add_argument("--weight-decay", type=float, default=0.05)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder of the four files")
    return parser.parse_args()


def main() -> None:
    """Train, report and save."""
    args = parse_arguments()
    torch.set_num_threads(args.threads)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(args.seed)
    data = load_data()
    _, _, test_x, test_y = data
    model = Spikformer(**ARCHITECTURE)
    initialise(model)
    train(model, args, data)
    facts = save(model, args, data)
    for name, rate in facts["rates"].items():
        print(f"{name:28s} {100 * rate:5.1f} % of neurons and steps")
    print(f"test accuracy   float32 {facts['accuracy_float32']:.4f}   float64 {facts['accuracy']:.4f}")
    for bits in (8, 6, 4):
        rounded = copy.deepcopy(model)
        fold_and_round(rounded, bits)
        print(f"test accuracy   weights of {bits} bits {accuracy(rounded, test_x, test_y):.4f}")


if __name__ == "__main__":
    main()
