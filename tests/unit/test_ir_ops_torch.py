"""The ops that PyTorch has, too, give the same numbers in float64."""

import numpy as np
import pytest

from compiler.ir.ops import AvgPool, BatchNorm, Conv2d, Linear, MatMul, MaxPool

torch = pytest.importorskip("torch")
functional = torch.nn.functional


def compare(op, expected, *xs):
    """``expected`` is torch's function on (T * B, ...)."""
    flat = [torch.from_numpy(x.reshape(-1, *x.shape[2:])) for x in xs]
    y = op.reference(*xs)
    theirs = expected(*flat).numpy()
    np.testing.assert_allclose(y.reshape(theirs.shape), theirs, rtol=1e-12, atol=1e-12)


def random(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize(("kernel", "stride", "padding"), [(1, 1, 0), (3, 1, 1), (3, 2, 1), (2, 2, 0), (7, 4, 3)])
def test_conv2d(kernel, stride, padding, groups):
    weight, bias = random(8, 4 // groups, kernel, kernel, seed=1), random(8, seed=2)
    op = Conv2d(weight=weight, bias=bias, stride=(stride,) * 2, padding=(padding,) * 2, groups=groups)

    def theirs(x):
        w, b = torch.from_numpy(weight), torch.from_numpy(bias)
        return functional.conv2d(x, w, b, stride=stride, padding=padding, groups=groups)

    compare(op, theirs, random(2, 3, 4, 9, 11))


def test_depthwise_conv2d():
    weight = random(4, 1, 3, 3, seed=1)
    op = Conv2d(weight=weight, padding=(1, 1), groups=4)
    compare(op, lambda x: functional.conv2d(x, torch.from_numpy(weight), padding=1, groups=4), random(2, 3, 4, 6, 5))


def test_conv2d_in_blocks_equals_conv2d_at_once(monkeypatch):
    op = Conv2d(weight=random(8, 4, 3, 3), padding=(1, 1))
    x = random(3, 5, 4, 6, 6, seed=1)
    at_once = op.reference(x)
    monkeypatch.setattr("compiler.ir.ops.conv.COLUMN_BYTES", 1)
    np.testing.assert_allclose(op.reference(x), at_once, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("kernel", "stride", "padding"), [(3, 2, 1), (2, 2, 0), (3, 1, 1)])
def test_pools(kernel, stride, padding):
    pair = {"kernel": (kernel,) * 2, "stride": (stride,) * 2, "padding": (padding,) * 2}
    x = random(2, 3, 4, 9, 8)
    compare(MaxPool(**pair), lambda x: functional.max_pool2d(x, kernel, stride, padding), x)
    compare(AvgPool(**pair), lambda x: functional.avg_pool2d(x, kernel, stride, padding), x)


def test_linear_and_batch_norm():
    weight, bias = random(5, 6), random(5, seed=1)
    op = Linear(weight=weight, bias=bias)
    compare(op, lambda x: functional.linear(x, torch.from_numpy(weight), torch.from_numpy(bias)), random(2, 3, 4, 6))
    gamma, beta, mean = random(3, 4)
    var = np.abs(random(4, seed=3)) + 0.1
    norm = BatchNorm(gamma=gamma, beta=beta, mean=mean, var=var, axis=0)
    stats = [torch.from_numpy(a) for a in (mean, var, gamma, beta)]
    compare(norm, lambda x: functional.batch_norm(x, *stats), random(2, 3, 4, 5, 6))


def test_matmul():
    a, b = random(2, 3, 4, 5, 6), random(2, 3, 4, 5, 7, seed=1)
    compare(MatMul(transpose_a=True), lambda a, b: a.transpose(-1, -2) @ b, a, b)
    compare(MatMul(transpose_b=True), lambda a, b: a @ b.transpose(-1, -2), a, a)
