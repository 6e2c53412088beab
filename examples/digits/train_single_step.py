"""Train the two single-step digits models and write meta.pt, qk.pt and single_step.json.

    pip install "neurochip[torch]" scikit-learn spikingjelly
    python examples/digits/train_single_step.py

The checkpoints are graphs that ``neurochip.trace`` recorded; they open without PyTorch. Data and split are those of
train.py. Deterministic for a seed on one machine.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import torch
from single_step import MetaDigits, QKDigits
from torch import Tensor, nn
from torch.nn import functional
from train import accuracy, augment, load_data, logits

import neurochip

TRAINING_BITS = 4  # what crossbars with four axon types hold
LOGIT_IMAGES = 8
NORMS = {"conv": "norm", "cut": "cut_norm", "linear": "norm"}
MODELS: dict[str, type[nn.Module]] = {"meta": MetaDigits, "qk": QKDigits}
Data = tuple[Tensor, Tensor, Tensor, Tensor]


@torch.no_grad()
def round_weights(model: nn.Module, bits: int) -> None:
    """Round each weight, times its batch-norm gain, to ``bits`` bits with one scale a layer, in place."""
    modules = dict(model.named_modules())
    for name, layer in modules.items():
        prefix, _, last = name.rpartition(".")
        if not isinstance(layer, nn.Conv2d | nn.Linear) or last == "conv":  # the host's convolution keeps 8 bits
            continue
        gain = torch.ones(len(layer.weight))
        if last in NORMS:
            norm = modules[f"{prefix}.{NORMS[last]}"]
            gain = norm.weight / (norm.running_var + norm.eps).sqrt()
        gain = gain.view(-1, *[1] * (layer.weight.ndim - 1))
        folded = layer.weight * gain
        step = folded.abs().max() / (2 ** (bits - 1) - 1)
        layer.weight.copy_((folded / step).round() * step / gain)


def step_loss(model: nn.Module, images: Tensor, labels: Tensor, rounded: bool) -> float:
    """Loss of one batch with its gradients in place, both at the rounded weights if ``rounded`` (straight through)."""
    kept = [parameter.detach().clone() for parameter in model.parameters()]
    if rounded:
        round_weights(model, TRAINING_BITS)
    loss = functional.cross_entropy(model(augment(images)), labels, label_smoothing=0.1)
    loss.backward()
    with torch.no_grad():
        for parameter, value in zip(model.parameters(), kept, strict=True):
            parameter.copy_(value)
    return loss.item()


def reset_before_calls(model: nn.Module) -> None:
    """Every call starts at rest."""

    def reset(*_: object) -> None:
        for module in model.modules():
            if hasattr(module, "reset"):
                module.reset()

    model.register_forward_pre_hook(reset)


def train(model: nn.Module, args: argparse.Namespace, data: Data) -> None:
    """AdamW with a one-cycle learning rate, the second half with rounded weights. Prints a line every ten epochs."""
    train_x, train_y, test_x, test_y = data
    groups = [
        {"params": [p for p in model.parameters() if p.ndim > 1], "weight_decay": 0.02},
        {"params": [p for p in model.parameters() if p.ndim <= 1], "weight_decay": 0.0},
    ]
    optimiser = torch.optim.AdamW(groups, lr=args.lr)
    batches = len(train_x) // args.batch
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, args.lr, args.epochs * batches, pct_start=0.15)
    start = time.perf_counter()
    for epoch in range(args.epochs):
        model.train()
        total = 0.0
        for batch in torch.randperm(len(train_x))[: batches * args.batch].view(batches, -1):
            optimiser.zero_grad()
            total += step_loss(model, train_x[batch], train_y[batch], rounded=2 * epoch >= args.epochs)
            optimiser.step()
            schedule.step()
        if (epoch + 1) % 10 == 0:
            test = accuracy(model, test_x, test_y)
            spent = time.perf_counter() - start
            print(
                f"epoch {epoch + 1:3d}  loss {total / batches:.3f}  test accuracy {test:.4f}  {spent:.0f} s", flush=True
            )


def expected(model: nn.Module, data: Data) -> dict[str, object]:
    """What single_step.json holds of one model: PyTorch's answers in float64."""
    _, _, test_x, test_y = data
    found = logits(model.double(), test_x.double())
    return {
        "images": len(test_x),
        "accuracy": (found.argmax(1) == test_y).double().mean().item(),
        "logits_float64": found[:LOGIT_IMAGES].tolist(),
        "predictions": found.argmax(1).tolist(),
    }


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=sorted(MODELS), default=sorted(MODELS))
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--lr", type=float, default=1e-2, help="peak learning rate")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    return parser.parse_args()


def main() -> None:
    """Train, report and save."""
    args = parse_arguments()
    torch.set_num_threads(args.threads)
    torch.use_deterministic_algorithms(True)
    data = load_data()
    path = args.out / "single_step.json"
    facts = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    for name in args.models:
        torch.manual_seed(args.seed)
        model = MODELS[name]()
        reset_before_calls(model)
        train(model, args, data)
        facts[name] = expected(model, data)
        model.eval()
        graph = neurochip.trace(model, data[2][:20].double(), input_range=(0, 1), name=f"{name}_digits")
        neurochip.save(graph, args.out / f"{name}.pt")
        print(f"{name}: test accuracy {facts[name]['accuracy']:.4f}")
    path.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
