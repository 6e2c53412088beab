"""The integer arithmetic of a chip's neurons, as data: widths, overflow, leak rounding, comparison."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Arithmetic(BaseModel):
    """How a chip computes one neuron update; every field is an exact rule, not a cost.

    ``u = input`` (wrapped or clipped to ``current_bits``);
    ``v = leak(v) + u`` (wrapped or clipped to ``membrane_bits``); fire if ``v > threshold`` (or ``>=``); reset.
    ``leak(v) = sign(v) * floor(|v| * (2**decay_bits - decay) / 2**decay_bits)`` when rounding toward zero,
    or ``floor(v * (2**decay_bits - decay) / 2**decay_bits)`` when rounding down.

    A linear leak takes ``decay`` raw units of the membrane, 0 to ``max_decay``: toward zero and never past it
    (``sign(v) * max(|v| - decay, 0)``, the default), ``past_zero`` (``v - sign(v) * decay``), or ``down``
    (``v - decay``). With ``leak_order: after``, ``v = leak(v + u)`` instead.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    current_bits: int = Field(24, ge=8, le=32, description="signed width of the summed input")
    current_overflow: Literal["wrap", "clip"] = "wrap"
    membrane_bits: int = Field(24, ge=8, le=32, description="signed width of the membrane")
    membrane_overflow: Literal["wrap", "clip"] = "clip"
    decay_bits: int = Field(12, ge=1, le=16, description="fractional bits of the leak factor")
    max_decay: int = Field(4095, ge=0, description="largest decay field")
    leak: Literal["exponential", "linear", "none"] = "exponential"
    leak_rounding: Literal["toward_zero", "down"] = "toward_zero"
    fires: Literal["gt", "ge"] = Field("gt", description="compare membrane > or >= threshold")
    threshold_bits: int = Field(17, ge=2, le=32, description="unsigned width of the threshold mantissa")
    threshold_shift: int = Field(6, ge=0, le=16, description="threshold = mantissa << threshold_shift")
    bias_bits: int = Field(
        13, ge=0, le=32, description="signed width of a neuron's bias mantissa; 0 = no bias register"
    )
    bias_shift_max: int = Field(7, ge=0, le=16, description="bias = mantissa << (0..bias_shift_max)")
    linear_leak: Literal["toward_zero", "past_zero", "down"] | None = Field(
        None, description="where a linear leak pulls; absent = toward_zero"
    )
    leak_order: Literal["before", "after"] | None = Field(
        None, description="the leak acts before or after the input is added; absent = before"
    )
    soft_reset: bool = Field(False, description="the chip can subtract the threshold instead of resetting to 0")
