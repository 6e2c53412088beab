"""Folders of PNG and JPEG images. The size must be the model's: nothing is resized, cropped or recoloured."""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurochip.errors import InputError, MissingExtraError

SUFFIXES = (".png", ".jpg", ".jpeg")
_PLAIN = {"1": "L", "L": "L", "RGB": "RGB", "P": "RGB"}
"""Modes of Pillow that hold 8-bit grey or colour, and what they are read as."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Normalisation:
    """``(pixel / 255 - mean) / std`` for each channel, the convention of torchvision's and timm's loaders.

    Attributes:
        mean, std: one number for all channels or one for each.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def parse(cls, text: str) -> Normalisation:
        """From ``mean=0.5,std=0.25`` or ``mean=0.485,0.456,0.406,std=0.229,0.224,0.225``; raises InputError."""
        found = re.fullmatch(r"\s*mean=([^a-z]+?)[,;\s]+std=([^a-z]+)", text)
        try:
            mean, std = (tuple(float(n) for n in re.split("[,/ ]+", part.strip())) for part in found.groups())  # type: ignore[union-attr]
        except (AttributeError, ValueError):
            mean = std = ()
        if not mean or len(mean) != len(std) or not all(map(isfinite, mean + std)) or min(std) <= 0:
            raise InputError(
                "--normalise: expected mean=M,std=S with one number, or one for each channel, and std above 0, such as "
                f"mean=0.485,0.456,0.406,std=0.229,0.224,0.225; found {text!r}"
            )
        return cls(mean=mean, std=std)


def image_files(folder: Path) -> list[Path]:
    """The images of a folder and of its sub-folders, in the order of their names."""
    found = [file for file in (*folder.glob("*"), *folder.glob("*/*")) if file.suffix.lower() in SUFFIXES]
    return sorted(file for file in found if file.is_file() and not file.name.startswith("."))


def read_images(files: list[Path], shape: tuple[int, ...], normalise: Normalisation | None) -> NDArray[np.float32]:
    """(B, C, H, W) float32: pixels as 0..1, then normalised.

    Raises InputError for an image of another size or number of channels, with transparency, 16 bits or damage, and for
    a model whose input is no image; MissingExtraError without Pillow.
    """
    if len(shape) != 3 or shape[0] not in (1, 3):
        raise InputError(f"the model takes inputs of shape {shape}, not grey or colour images; save arrays instead")
    if normalise is not None and len(normalise.mean) not in (1, shape[0]):
        raise InputError(f"--normalise: {len(normalise.mean)} numbers for a model of {shape[0]} channels")
    try:
        from PIL import Image
    except ImportError:
        raise MissingExtraError("reading images", "images") from None
    x = np.empty((len(files), *shape), np.float32)
    for number, file in enumerate(files):
        x[number] = _pixels(Image, file, shape)
    x /= 255
    if normalise is not None:
        mean, std = (np.array(n, np.float32).reshape(-1, 1, 1) for n in (normalise.mean, normalise.std))
        x = ((x - mean) / std).astype(np.float32)
    return x


def _pixels(pillow: Any, file: Path, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """(C, H, W) of one file."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # a decompression bomb is a warning first
            with pillow.open(file, formats=("PNG", "JPEG")) as image:
                _check(image, file, shape)
                array: NDArray[np.uint8] = np.asarray(image.convert(_PLAIN[image.mode]))
    except InputError:
        raise
    except (OSError, ValueError, SyntaxError, EOFError, Warning, pillow.DecompressionBombError) as error:
        raise InputError(f"{file}: expected a whole PNG or JPEG image: {str(error).splitlines()[0]}") from None
    return array[None] if array.ndim == 2 else np.moveaxis(array, -1, 0)


def _check(image: Any, file: Path, shape: tuple[int, ...]) -> None:
    channels, height, width = shape
    if image.size != (width, height):
        raise InputError(
            f"{file}: expected {height} x {width} pixels (height x width), found {image.size[1]} x {image.size[0]}; "
            "resize the images as in training: nothing is resized here"
        )
    found = {"L": 1, "RGB": 3}.get(_PLAIN.get(image.mode, ""))
    if found is None or "transparency" in image.info:
        raise InputError(f"{file}: expected 8-bit grey or colour without transparency, found mode {image.mode}")
    if found != channels:
        raise InputError(f"{file}: expected {channels} channels, found {found}; convert the images as in training")
