"""RepConv: two pointwise convolutions around a depthwise one, with nothing that spikes between them.

Source: Ding et al. 2021, "RepVGG", CVPR, arXiv:2101.03697 (merging); Yao et al. 2024, arXiv:2404.03663, equation 11.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from compiler.importers.blocks import GraphBuilder
from compiler.importers.options import Option
from compiler.ir.ops import Conv2d

REP_CONV = Option(
    name="rep_conv",
    kind="choice",
    default="kept",
    choices=("kept", "merged"),
    meaning="the five linear layers of a RepConv as trained, or as one dense 3x3 convolution that spikes can enter",
)


def rep_conv(builder: GraphBuilder, at: str, x: str, width: int, *, merged: bool) -> str:
    """The RepConv whose tensors are ``at.body...``, from C = ``width`` to C channels on (C, H, W).

    pointwise -> batch norm, with a border of what it makes of zero -> depthwise 3x3 -> pointwise -> batch norm.
    """
    keys = [f"{at}.body.{part}" for part in ("0", "1.bn", "2.0", "2.1", "2.2")]
    first = builder.take(f"{keys[0]}.weight", (width, width, 1, 1))
    inner = builder.norm(keys[1], width, axis=0)
    depthwise = builder.take(f"{keys[2]}.weight", (width, 1, 3, 3))
    last = builder.take(f"{keys[3]}.weight", (width, width, 1, 1))
    outer = builder.norm(keys[4], width, axis=0)
    gain, border = inner.gain_and_offset()
    # The depthwise convolution sees the border value as a constant everywhere; taken out, the padding is zero.
    constant = border * depthwise.astype(np.float64).sum(axis=(1, 2, 3))
    if not merged:
        zero = np.zeros(width, dtype=np.float32)
        y = builder.add(keys[0], Conv2d(weight=first), x)
        y = builder.add(keys[1], replace(inner, beta=zero, mean=zero), y)
        y = builder.add(keys[2], Conv2d(weight=depthwise, bias=constant, padding=(1, 1), groups=width), y)
        y = builder.add(keys[3], Conv2d(weight=last), y)
        return builder.add(keys[4], outer, y)
    out_gain, out_offset = outer.gain_and_offset()
    left = last[:, :, 0, 0].astype(np.float64) * out_gain[:, None]
    right = first[:, :, 0, 0].astype(np.float64) * gain[:, None]
    weight = np.empty((width, width, 3, 3))
    for row in range(3):
        for column in range(3):
            weight[:, :, row, column] = (left * depthwise[:, 0, row, column]) @ right
    bias = left @ constant + out_offset
    return builder.add(at, Conv2d(weight=weight, bias=bias, padding=(1, 1)), x)
