"""What the importers of image models share: options, the input, sizes read from tensors, the linear head."""

from __future__ import annotations

from dataclasses import replace
from math import inf

import numpy as np

from compiler.importers.blocks import GraphBuilder
from compiler.importers.family import Tensors
from compiler.importers.options import Option, Options
from compiler.ir.graph import Setting
from compiler.ir.ops import Input, Mean, Neuron, TimeMean
from neurochip.errors import CheckpointError


def image_options(*, steps: int, image: int) -> tuple[Option, ...]:
    """Time steps, image size and input range."""
    return (
        Option(
            name="T",
            kind="count",
            default=steps,
            spellings=("time_step", "time_steps", "timesteps"),
            meaning="time steps",
        ),
        Option(name="img_size", kind="size", default=(image, image), meaning="height and width of the input"),
        Option(name="input_low", kind="number", default=-inf, spellings=("input.low",), meaning="smallest input"),
        Option(name="input_high", kind="number", default=inf, spellings=("input.high",), meaning="largest input"),
    )


def lif_options(*, attention: str = "") -> tuple[Option, ...]:
    """Constants of the LIF neurons; ``attention`` names the layers whose threshold differs."""
    but = f" but {attention}" if attention else ""
    found = (
        Option(name="tau", kind="number", default=2.0, meaning="membrane time constant of every LIF, in steps"),
        Option(name="v_threshold", kind="number", default=1.0, meaning=f"threshold of every LIF{but}"),
        Option(name="v_reset", kind="number", default=0.0, meaning="membrane after a spike"),
    )
    extra = Option(name="attn_v_threshold", kind="number", default=0.5, meaning=f"threshold of {attention}")
    return (*found, extra) if attention else found


def neuron_options(kind: str) -> tuple[Option, ...]:
    """The neurons of models whose code takes any of SpikingJelly's; ``kind`` is the default."""
    return (
        Option(name="neuron", kind="choice", default=kind, choices=("IF", "LIF"), meaning="kind of every neuron"),
        *lif_options(),
        Option(name="decay_input", kind="flag", default=True, meaning="a LIF divides its input by tau, too"),
        Option(
            name="reset",
            kind="choice",
            default="hard",
            choices=("hard", "soft"),
            meaning="to v_reset, or by v_threshold",
        ),
    )


def heads_option(default: int, *, in_file: bool = True) -> Option:
    """Number of attention heads."""
    meaning = "attention heads"
    return Option(
        name="num_heads", kind="count", default=default, spellings=("heads",), meaning=meaning, in_file=in_file
    )


def lif(options: Options, threshold: str = "v_threshold") -> Neuron:
    """The LIF that ``lif_options`` describe."""
    return Neuron(tau=options.number("tau"), threshold=options.number(threshold), v_reset=options.number("v_reset"))


def fixed_or_learned(builder: GraphBuilder, tensors: Tensors, name: str, options: Options) -> Neuron:
    """The neuron ``name`` that ``neuron_options`` describe; a LIF with learned time constant if the file has one."""
    soft = options.choice("reset") == "soft"
    neuron = replace(
        lif(options),
        decay_input=options.flag("decay_input"),
        reset="soft" if soft else "hard",
        v_reset=0.0 if soft else options.number("v_reset"),
    )
    if f"{name}.w" in tensors:
        return replace(neuron, tau=learned_lif(builder, name, options).tau)
    return replace(neuron, tau=None) if options.choice("neuron") == "IF" else neuron


def learned_lif(builder: GraphBuilder, name: str, options: Options, threshold: str = "v_threshold") -> Neuron:
    """A LIF whose time constant is the tensor ``name.w``: 1 / tau = sigmoid(w).

    Source: Fang et al. 2021, "Incorporating learnable membrane time constant", ICCV, arXiv:2007.05785, equation 8.
    """
    w = builder.take(f"{name}.w", ()).astype(np.float64)
    with np.errstate(over="ignore"):
        tau = float(1 + np.exp(-w))
    return replace(lif(options, threshold), tau=tau)


def image_input(builder: GraphBuilder, options: Options, channels: int) -> str:
    """The input node (channels, H, W)."""
    low, high = options.number("input_low"), options.number("input_high")
    if low > high:
        raise CheckpointError(f"expected input_low <= input_high, got {low} and {high}")
    return builder.add("input", Input(shape=(channels, *options.size("img_size")), low=low, high=high))


def tokens_of(options: Options, factor: int) -> int:
    """Positions left of an image after down-sampling by ``factor``; raises CheckpointError if it does not divide."""
    height, width = options.size("img_size")
    if height % factor or width % factor:
        raise CheckpointError(
            f"expected img_size to be divisible by {factor}, got {height}x{width}; "
            "say how the model was trained: --set img_size=HEIGHTxWIDTH"
        )
    return height * width // factor**2


def check_heads(heads: int, width: int) -> None:
    """Raise CheckpointError unless the heads share the width equally."""
    if width % heads:
        raise CheckpointError(
            f"num_heads {heads} does not divide the width {width}; say how the model was trained: --set num_heads=COUNT"
        )


def block_count(tensors: Tensors, prefix: str) -> int:
    """1 + the largest i of keys ``prefix.i.``; 1 if there are none, so that block 0 is missed by name.

    Raises CheckpointError for an i that so few tensors cannot have counted to.
    """
    at = f"{prefix}."
    texts = {key.removeprefix(at).split(".")[0] for key in tensors if key.startswith(at)}
    numbers = [text for text in texts if text.isdecimal()]
    far = [text for text in numbers if len(text) > 6 or int(text) >= len(tensors)]
    if far:
        raise CheckpointError(f"there is a tensor of '{at}{far[0][:20]}', but only {len(tensors)} tensors in all")
    return 1 + max(map(int, numbers), default=0)


def shape_settings(**found: object) -> tuple[Setting, ...]:
    """Records of what the shapes of the tensors tell."""
    return tuple(Setting(name, value, "tensor shapes") for name, value in found.items())


def linear_head(builder: GraphBuilder, x: str, name: str = "head") -> str:
    """The last linear layer with bias; its sizes are the tensor's."""
    classes, width = builder.shape(f"{name}.weight", 2)
    return builder.linear(name, x, (classes, width), bias=True)


def mean_head(builder: GraphBuilder, x: str) -> str:
    """(N, D) -> classes: mean over tokens, mean over steps, linear head."""
    x = builder.add("token_mean", Mean(axes=(0,)), x)
    x = builder.add("time_mean", TimeMean(), x)
    return linear_head(builder, x)
