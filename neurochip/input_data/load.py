"""One entry for all kinds of input: look at what is there, read it, bin or encode it for a program."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from neurochip.errors import InputError
from neurochip.input_data.encode import encode
from neurochip.input_data.events import bin_events
from neurochip.input_data.images import Normalisation, image_files, read_images
from neurochip.input_data.recordings import is_recording, read_recording
from neurochip.inputs import load_input
from neurochip.network.network import InputSpec

RECORDINGS = (".npz", ".h5", ".hdf5", ".aedat", ".aedat4")


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """How files become an array.

    Attributes:
        normalise: of images; None = pixels as 0..1.
        encoding: ``direct`` = as it is, ``rate`` or ``latency`` = spikes in T steps from values 0..1.
        seed: of the rate encoding.
        windows: steps of a recording by equal ``time`` or equal ``count`` of events.
        binary: several events of a pixel in a step count as one.
        limit: read only the first so many inputs.
    """

    normalise: Normalisation | None = None
    encoding: Literal["direct", "rate", "latency"] = "direct"
    seed: int = 0
    windows: Literal["time", "count"] = "time"
    binary: bool = False
    limit: int | None = None


def load_data(
    path: str | Path, spec: InputSpec, timesteps: int, choices: Choices | None = None
) -> tuple[NDArray[Any], NDArray[np.integer[Any]] | None]:
    """Inputs for a program, (B, *shape) or (T, B, *shape), and the labels that sub-folders tell, (B,), or None.

    ``path`` is an .npy or .npz file of one array; a folder of PNG and JPEG images, or of recordings, in sub-folders
    named after the classes or in none; or one recording of an event camera (see ``read_recording``).

    Raises:
        InputError: what is there cannot be read or does not fit the program, or a choice does not apply to it.
        MissingExtraError: a reader is not installed.
    """
    given, where = choices or Choices(), Path(path)
    kind, files, labels = _found(where)
    if given.normalise is not None and kind != "images":
        raise InputError(f"{path}: --normalise is for images, but this is {_AS[kind]}; normalise it when you save it")
    if (given.binary or given.windows != "time") and kind != "recordings":
        raise InputError(f"{path}: --windows and --binary-events are for recordings, but this is {_AS[kind]}")
    if kind == "recordings" and given.encoding != "direct":
        raise InputError(f"{path}: recordings are events already; leave --encode {given.encoding} out")
    files = files[: given.limit]
    labels = None if labels is None else labels[: given.limit]
    if kind == "images":
        x: NDArray[Any] = read_images(files, spec.shape, given.normalise)
    elif kind == "recordings":
        bins = [
            bin_events(read_recording(f, spec.shape), spec.shape, timesteps, given.windows, given.binary, str(f))
            for f in files
        ]
        x = np.stack(bins, axis=1)
    else:
        x = load_input(where)
    return encode(x, spec.shape, timesteps, given.encoding, given.seed), labels


_AS = {"array": "an array", "images": "a folder of images", "recordings": "a recording of events"}


def _found(path: Path) -> tuple[str, list[Path], NDArray[np.int64] | None]:
    """What is at ``path``: its kind, its files, and a label for each file that lies in a sub-folder."""
    if not path.is_dir():
        return ("recordings", [path], None) if is_recording(path) else ("array", [path], None)
    images, recordings = image_files(path), _recording_files(path)
    if images and recordings:
        raise InputError(f"{path}: expected images or recordings, found both: {images[0].name}, {recordings[0].name}")
    if not images and not recordings:
        raise InputError(
            f"{path}: expected .png, .jpg or .jpeg images, or recordings ({', '.join(RECORDINGS)}), in the folder or "
            "in one sub-folder for each class; found none"
        )
    files = images or recordings
    inside = [file for file in files if file.parent != path]
    if not inside:
        return "images" if images else "recordings", files, None
    if len(inside) < len(files):
        loose = next(file for file in files if file.parent == path)
        raise InputError(f"{path}: expected all files in sub-folders, one for each class; found {loose.name} outside")
    classes = sorted({file.parent.name for file in files})
    labels = np.array([classes.index(file.parent.name) for file in files], np.int64)
    return "images" if images else "recordings", files, labels


def _recording_files(folder: Path) -> list[Path]:
    found = [file for file in (*folder.glob("*"), *folder.glob("*/*")) if file.suffix.lower() in RECORDINGS]
    return sorted(file for file in found if file.is_file() and not file.name.startswith("."))
