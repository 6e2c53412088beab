"""Numbers as people read them: SI prefixes for quantities, k and M for counts, shares in per cent."""

from __future__ import annotations

import math

NOT_PUBLISHED = "not published"
"""Shown for a figure that no source gives."""

_PREFIXES = ("f", "p", "n", "u", "m", "", "k", "M", "G", "T")
_SMALLEST = -5


def quantity(value: float | None, unit: str) -> str:
    """``value`` in ``unit`` with an SI prefix and up to four digits: 1.5e-06, "J" -> "1.5 uJ"; u stands for micro."""
    if value is None:
        return NOT_PUBLISHED
    if value == 0 or not math.isfinite(value):
        return f"{value:g} {unit}"
    digits, power = _scaled(value)
    return f"{digits} {_PREFIXES[power - _SMALLEST]}{unit}"


def count(value: float | None) -> str:
    """A number of things: whole below 10,000, then with k, M, G or T; "-" for None."""
    if value is None:
        return "-"
    if abs(value) < 10_000:
        return f"{value:,.0f}" if abs(value) >= 1000 or value == int(value) else f"{value:.4g}"
    digits, power = _scaled(value)
    return f"{digits} {_PREFIXES[power - _SMALLEST]}"


def percent(share: float | None) -> str:
    """A share of one in per cent, two or three digits; "-" for None."""
    if share is None:
        return "-"
    value = 100 * share
    if value in (0, 100):
        return f"{value:.0f} %"
    return f"{value:.1f} %" if abs(value) >= 9.95 else f"{value:#.2g} %"


def _scaled(value: float) -> tuple[str, int]:
    """Digits and power of 1000; a mantissa that rounds up to 1000 moves on to the next prefix."""
    power = min(max(math.floor(math.log10(abs(value)) / 3), _SMALLEST), len(_PREFIXES) + _SMALLEST - 1)
    mantissa = float(f"{value / 1000.0**power:.4g}")
    if abs(mantissa) >= 1000 and power < len(_PREFIXES) + _SMALLEST - 1:
        mantissa, power = mantissa / 1000, power + 1
    return f"{mantissa:.4g}", power
