"""What the exporters of frameworks leave out of a NIR file, as defaults of the settings.

Sources: the exporters of snnTorch 1.0 (``export_nir.py``: dt 1e-4, Leaky's default reset), SpikingJelly 2.0 (fires at
the threshold), Norse 1.1 (``export_nir.py``: writes dt / tau_inv with dt 1e-3: a step is dt squared), Sinabs 3.1
(``nir.py``: time constants in steps; multiple spikes and soft reset are its layers' defaults) and Rockpool 3.1
(``torch/nir.py``: r = tau exp(-dt / tau) / dt; ``LIFTorch``: multiple spikes, soft reset).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import exp
from types import MappingProxyType

import numpy as np

from compiler.importers.nir_file import NirNode

WRITERS: Mapping[str, Mapping[str, float | str]] = MappingProxyType(
    {
        "nir": {},
        "snntorch": {"dt": 1e-4, "reset": "delayed"},
        "spikingjelly": {"dt": 1e-4, "fires": "ge"},
        "norse": {"dt": 1e-6},
        "sinabs": {"dt": 1.0, "reset": "soft", "fires": "ge", "discretisation": "exact", "spikes": "several"},
        "rockpool": {"reset": "soft", "fires": "ge", "discretisation": "exact", "spikes": "several"},
    }
)
"""By framework, the defaults that differ from NIR's."""


def rockpool_step(nodes: Iterable[NirNode]) -> float | None:
    """The dt that Rockpool used, from r / tau = exp(-dt / tau) / dt; None if no node tells."""
    for node in nodes:
        tau, r = (np.ravel(node.values.get(key, ())) for key in ("tau_mem" if node.kind == "CubaLIF" else "tau", "r"))
        if node.kind in ("LIF", "CubaLIF", "LI") and tau.size and r.size and tau.dtype.kind == r.dtype.kind == "f":
            if not (tau[0] > 0 and r[0] > 0):
                return None
            ratio, step = float(r[0] / tau[0]), 0.0
            for _ in range(100):  # a contraction: its slope is -step / tau, between -1 and 0 for steps below tau
                step = (step + exp(-step / float(tau[0])) / ratio) / 2
            return float(f"{step:.6g}")
    return None
