"""neurochip: compile trained spiking transformers to neuromorphic chips and simulate them, spike for spike."""

from __future__ import annotations

from typing import Any

from neurochip.version import VERSION as __version__

_API = (
    "Result",
    "check",
    "check_all",
    "compile",
    "load_chip",
    "load_model",
    "load_program",
    "save",
    "save_nir",
    "save_program",
    "simulate",
    "trace",
)

__all__ = ["__version__", *_API]


def __getattr__(name: str) -> Any:
    """Load the facade on first use: importing neurochip imports neither numba nor pydantic."""
    if name in _API:
        from neurochip import api

        return getattr(api, name)
    raise AttributeError(f"module 'neurochip' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
