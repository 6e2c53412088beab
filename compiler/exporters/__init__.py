"""From a Graph to files of other tools."""

from __future__ import annotations

from compiler.exporters.nir_writer import save_nir

__all__ = ["save_nir"]
