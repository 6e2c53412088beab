"""A number that changes with the source of kernels.

Numba's disk cache notices an edited function, but not an edited callee in another file. It also looks at the values a
function closes over: one that closes over this number is compiled anew after any of the files was edited.
"""

from __future__ import annotations

from pathlib import Path
from zlib import crc32


def stamp(file: str, *modules: str) -> int:
    """Checksum of the named modules in the folder of ``file``."""
    folder, value = Path(file).parent, 0
    for module in modules:
        value = crc32((folder / f"{module}.py").read_bytes(), value)
    return value
