"""What a matrix unit does for a product population: whole matrices, whatever spikes there are."""

from __future__ import annotations

from neurochip.network.network import Network, Population
from neurochip.network.projections import Gated, Matrix, Product


def whole_products(network: Network, population: Population) -> tuple[int, ...]:
    """Multiply-accumulates of one head in one step, for each part of the product; zeros included.

    Attention: ``k^T v`` of (N, d) operands and q times that, 2 N d^2 (one part). Weighted sums: the convolution, all
    its taps at each position, and the product of z with it (two parts).
    """
    incoming = network.incoming[population.name]
    product = next((p for p in incoming if isinstance(p, Product)), None)
    if product is not None:
        depth = population.channels // product.heads
        return (2 * population.positions * depth * depth,)
    matrix = next(p for p in incoming if isinstance(p, Matrix))
    gated = next(p for p in incoming if isinstance(p, Gated))
    x, z = (network.by_name[p.sources[0].population] for p in (matrix, gated))
    rows, columns = matrix.grid(x.height, x.width)
    convolved = rows * columns * matrix.weight.size // gated.heads
    depth = matrix.weight.shape[-1] // gated.heads
    return convolved, z.positions * depth * rows * columns
