"""The version of neurochip; recorded in every program."""

from __future__ import annotations

VERSION = "0.1.0"
