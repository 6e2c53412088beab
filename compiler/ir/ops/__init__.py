"""The ops of the Graph level; ``OPS`` lists them all."""

from __future__ import annotations

from compiler.ir.ops.activation import Clip, Gelu, Relu, Sigmoid, Silu, Tanh
from compiler.ir.ops.affine import Affine
from compiler.ir.ops.attention import Attention, MatMul
from compiler.ir.ops.base import Floats, Op, Weights
from compiler.ir.ops.conv import Conv2d
from compiler.ir.ops.elementwise import Add, Scale
from compiler.ir.ops.embedding import Embedding
from compiler.ir.ops.feedback import Feedback
from compiler.ir.ops.input import Input
from compiler.ir.ops.integer_neuron import IntegerNeuron
from compiler.ir.ops.join import Broadcast, Concat, Pad, Slice
from compiler.ir.ops.leaky_neuron import LeakyMembrane, LeakyNeuron
from compiler.ir.ops.linear import Linear
from compiler.ir.ops.mask import AndNot, Mul
from compiler.ir.ops.neuron import Neuron
from compiler.ir.ops.norm import BatchNorm
from compiler.ir.ops.normalise import LayerNorm, Softmax
from compiler.ir.ops.pool import AvgPool, MaxPool, SumPool
from compiler.ir.ops.quantised import QuantiseInput, Requantise
from compiler.ir.ops.readout import Readout
from compiler.ir.ops.reduce import Mean, Sum, TimeMean
from compiler.ir.ops.register_neuron import RegisterNeuron
from compiler.ir.ops.running import Accumulate, Delay, Filter, Increment, Onset, Step
from compiler.ir.ops.serial_neuron import SerialNeuron
from compiler.ir.ops.shape import Reshape, Transpose
from compiler.ir.ops.threshold_neuron import MultiThresholdNeuron, TernaryNeuron
from compiler.ir.ops.weighted_product import WeightedProduct
from compiler.ir.ops.wkv import Wkv

OPS: tuple[type[Op], ...] = (
    Input,
    Conv2d,
    Linear,
    BatchNorm,
    Neuron,
    SerialNeuron,
    MaxPool,
    AvgPool,
    SumPool,
    Add,
    Mul,
    AndNot,
    MatMul,
    Scale,
    Reshape,
    Transpose,
    Sum,
    Mean,
    TimeMean,
    Attention,
    QuantiseInput,
    Requantise,
    Readout,
    RegisterNeuron,
    IntegerNeuron,
    MultiThresholdNeuron,
    TernaryNeuron,
    Affine,
    Concat,
    Slice,
    Accumulate,
    Increment,
    Delay,
    Onset,
    LayerNorm,
    Softmax,
    Relu,
    Gelu,
    Sigmoid,
    Silu,
    Tanh,
    Embedding,
    Wkv,
    LeakyNeuron,
    LeakyMembrane,
    Filter,
    Clip,
    Broadcast,
    Pad,
    Step,
    Feedback,
    WeightedProduct,
)

__all__ = [
    "OPS",
    "Accumulate",
    "Add",
    "Affine",
    "AndNot",
    "Attention",
    "AvgPool",
    "BatchNorm",
    "Broadcast",
    "Clip",
    "Concat",
    "Conv2d",
    "Delay",
    "Embedding",
    "Feedback",
    "Filter",
    "Floats",
    "Gelu",
    "Increment",
    "Input",
    "IntegerNeuron",
    "LayerNorm",
    "LeakyMembrane",
    "LeakyNeuron",
    "Linear",
    "MatMul",
    "MaxPool",
    "Mean",
    "Mul",
    "MultiThresholdNeuron",
    "Neuron",
    "Onset",
    "Op",
    "Pad",
    "QuantiseInput",
    "Readout",
    "RegisterNeuron",
    "Relu",
    "Requantise",
    "Reshape",
    "Scale",
    "SerialNeuron",
    "Sigmoid",
    "Silu",
    "Slice",
    "Softmax",
    "Step",
    "Sum",
    "SumPool",
    "Tanh",
    "TernaryNeuron",
    "TimeMean",
    "Transpose",
    "WeightedProduct",
    "Weights",
    "Wkv",
]
