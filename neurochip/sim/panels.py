"""Which projections can be delivered as matrix products, and their weights as those want them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurochip.network.network import Network
from neurochip.network.projections import Conv, Dense, Projection, Weights
from neurochip.sim.kernels import dense


def panels_of(
    network: Network, projection: Projection, boxes: NDArray[np.int32], window: Any, weight: Weights
) -> NDArray[np.int8]:
    """``weight`` for ``kernels.dense``, if they are bytes, targets receive whole windows and counts fit a byte."""
    none = np.zeros((0, 0, 0, 0, 0), np.int8)
    source = network.by_name[projection.sources[0].population]
    most = sum(network.by_name[s.population].high for s in projection.sources)
    plain = isinstance(projection, Dense) or (
        isinstance(projection, Conv) and projection.groups == 1 and projection.rows is None
    )
    plain = plain and len(weight) == window.kernel_y * window.kernel_x * source.channels
    quarters = window.kernel_x * source.channels % 4 == 0 and weight.shape[1] % dense.PANEL == 0
    plain = plain and weight.dtype == np.int8
    if not (dense.AVAILABLE and plain and quarters and most <= 255 and source.neuron.kind != "product"):
        return none
    y0, y1, x0, x1, c0, c1, py0, py1, px0, px1, pc0, pc1 = boxes.T.astype(np.int64)
    whole = (py0 <= np.maximum(y0 * window.stride_y - window.padding_y, 0)) & (
        py1 >= np.minimum((y1 - 1) * window.stride_y - window.padding_y + window.kernel_y, window.height)
    )
    whole &= (px0 <= np.maximum(x0 * window.stride_x - window.padding_x, 0)) & (
        px1 >= np.minimum((x1 - 1) * window.stride_x - window.padding_x + window.kernel_x, window.width)
    )
    whole &= (pc0 == 0) & (pc1 == source.channels)
    size = ((y1 - y0) * (x1 - x0) * (c1 - c0)).sum()
    if not whole.all() or size != window.out_height * window.out_width * weight.shape[1]:
        return none
    return dense.panels(np.ascontiguousarray(weight, np.int8), window.kernel_y)
