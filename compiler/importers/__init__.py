"""From a model file to a Graph. ``FAMILIES`` lists what can be read; add a family by adding a file and a line here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from compiler.importers.checkpoint import read_checkpoint
from compiler.importers.family import Family, Tensors
from compiler.importers.graph_file import read_graph
from compiler.importers.ms_resnet import MS_RESNET
from compiler.importers.nir_file import is_hdf5
from compiler.importers.options import Options, input_range
from compiler.importers.qkformer import QKFORMER_CIFAR, QKFORMER_DVS, QKFORMER_IMAGENET
from compiler.importers.sdt_v1 import SDT_V1
from compiler.importers.sdt_v2 import SDT_V2
from compiler.importers.sdt_v3 import SDT_V3, SDT_V3_DVS
from compiler.importers.sdt_v3_large import SDT_V3_LARGE
from compiler.importers.sew_resnet import SEW_RESNET, SEW_RESNET_SPIKINGJELLY
from compiler.importers.sew_resnet_dvs import SEW_RESNET_DVS
from compiler.importers.spikebert import SPIKEBERT
from compiler.importers.spikegpt import SPIKEGPT
from compiler.importers.spikezip import SPIKEZIP_VIT
from compiler.importers.spikformer import SPIKFORMER_CIFAR, SPIKFORMER_CML, SPIKFORMER_DVS, SPIKFORMER_IMAGENET
from compiler.importers.spikformer_v2 import SPIKFORMER_V2
from compiler.importers.spikingformer import SPIKINGFORMER, SPIKINGFORMER_CML
from compiler.importers.spikingresformer import SPIKINGRESFORMER
from compiler.importers.stack import SPIKING_VGG, STACK
from compiler.importers.vit import ECMT_VIT, VIT
from compiler.ir.graph import Graph
from neurochip.errors import CheckpointError, GraphError

FAMILIES: tuple[Family, ...] = (
    SPIKFORMER_CIFAR,
    SPIKFORMER_IMAGENET,
    SPIKFORMER_DVS,
    SPIKFORMER_CML,
    SPIKFORMER_V2,
    SPIKINGFORMER,
    SPIKINGFORMER_CML,
    SDT_V1,
    QKFORMER_IMAGENET,
    QKFORMER_CIFAR,
    QKFORMER_DVS,
    SEW_RESNET,
    SEW_RESNET_SPIKINGJELLY,
    SEW_RESNET_DVS,
    MS_RESNET,
    SPIKING_VGG,
    STACK,
    SDT_V2,
    SDT_V3,
    SDT_V3_DVS,
    SDT_V3_LARGE,
    SPIKINGRESFORMER,
    ECMT_VIT,
    VIT,
    SPIKEGPT,
    SPIKEBERT,
    SPIKEZIP_VIT,
)

__all__ = ["FAMILIES", "Family", "find_family", "load_model"]


def load_model(
    path: str | Path, *, arch: str | None = None, settings: Mapping[str, str] | None = None, ema: bool = False
) -> Graph:
    """Read a checkpoint into a verified float Graph; nothing in the file is executed.

    Args:
        path: a PyTorch checkpoint of one of the ``FAMILIES``, or a NIR file (see ``compiler.importers.nir_reader``),
            or a file of ``save_graph``.
        arch: name of a family, or of a group such as ``spikformer``; found from the tensors if None.
        settings: facts that the file cannot tell or tells wrongly, by option name (``T``, ``num_heads``, ...).
        ema: take the averaged weights that the trainer kept beside the last ones.

    Raises CheckpointError naming the file and what is wrong with it: its format, family, tensors or settings.
    """
    if is_hdf5(path):
        from compiler.importers.nir_reader import read_nir

        if arch not in (None, "nir"):
            raise CheckpointError(f"{path}: this is a NIR (HDF5) file, of no architecture '{arch}'; leave --arch out")
        return read_nir(path, settings)
    checkpoint = read_checkpoint(path, ema=ema)
    try:
        if checkpoint.container == "graph":
            return read_graph(checkpoint, settings)
        tensors = _of_the_model(checkpoint.tensors, arch)
        family = find_family(tensors, arch)
        arguments = input_range(checkpoint.args) | checkpoint.args
        return family.build(tensors, Options(family.options, arguments, settings))
    except (CheckpointError, GraphError) as error:
        raise CheckpointError(f"{path}: {_visible(str(error))}") from None


def _of_the_model(tensors: Tensors, arch: str | None) -> Tensors:
    """The tensors without the name of the module that held the model (``model.``, ``net.``), if only then they fit."""
    candidates = [f for f in FAMILIES if arch is None or f.name == arch or f.name.startswith(f"{arch}-")]
    found: Tensors = tensors
    while not any(family.matches(found) for family in candidates):
        first = {key.partition(".")[0] for key in found}
        if len(first) != 1 or not all("." in key for key in found):
            return tensors
        found = {key.partition(".")[2]: tensor for key, tensor in found.items()}
    return found


def find_family(tensors: Tensors, arch: str | None = None) -> Family:
    """The family that the tensors belong to, among those called ``arch`` or, if none is, ``arch-...``.

    Raises CheckpointError if there is none, or if there are several: families of equal keys compute different things.
    """
    exact = [family for family in FAMILIES if family.name == arch]
    named = exact or [f for f in FAMILIES if arch is None or f.name.startswith(f"{arch}-")]
    names = ", ".join(family.name for family in FAMILIES)
    if not named:
        raise CheckpointError(f"unknown architecture '{arch}'; known are {names}")
    found = [family for family in named if family.matches(tensors)]
    if len(found) > 1:
        raise CheckpointError(
            "the tensors fit several architectures that compute different things; say which one was trained: "
            + " or ".join(f"--arch {family.name}" for family in found)
        )
    if found:
        return found[0]
    # An exact name lets the family say which tensors it misses.
    if arch is not None and len(named) == 1:
        return named[0]
    first = ", ".join(list(tensors)[:6])
    raise CheckpointError(
        f"the tensors are of no known architecture ({names}); the file holds {len(tensors)} tensors: {first}, ..."
    )


def _visible(text: str) -> str:
    """The text of an error without what a file's arguments could do to a terminal."""
    return "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in text)
