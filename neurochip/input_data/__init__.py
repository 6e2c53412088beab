"""Input data in the forms people have them: arrays, folders of images, recordings of event cameras."""

from __future__ import annotations

from neurochip.input_data.load import Choices, load_data

__all__ = ["Choices", "load_data"]
