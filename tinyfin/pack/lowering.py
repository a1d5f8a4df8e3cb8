# SPDX-License-Identifier: Apache-2.0
"""From TFLite operators to the few operations of a plan, with every number already worked out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tinyfin.errors import ModelError
from tinyfin.pack import lowering_operators
from tinyfin.pack.lowering_common import activation_range, quantized, same_size, where
from tinyfin.pack.lowering_operators import Binary, Copy, Reduce, Softmax
from tinyfin.tflite import fixed_point
from tinyfin.tflite.model import BINARY, Tensor, TfliteModel, TfliteOperator

__all__ = [
    "Binary",
    "Copy",
    "FullyConnected",
    "Node",
    "Reduce",
    "Softmax",
    "Table",
    "lower",
    "output_of",
]


@dataclass(frozen=True)
class FullyConnected:
    """y = clamp(requantise(weights · (x - input_zero_point) + bias) + output_zero_point).

    weights int8[N, K]; bias int64[N]; multipliers: per row (q32, shift1), see `row_multiplier`.
    """

    input: int
    output: int
    weights: NDArray[np.int8]
    bias: NDArray[np.int64]
    multipliers: tuple[tuple[int, int], ...]
    input_zero_point: int
    output_zero_point: int
    activation_min: int
    activation_max: int

    reusable: tuple[int, ...] = ()

    @property
    def inputs(self) -> tuple[int, ...]:
        """Tensors that it reads."""
        return (self.input,)

    @property
    def input_length(self) -> int:
        """K."""
        return int(self.weights.shape[1])

    @property
    def output_length(self) -> int:
        """N."""
        return int(self.weights.shape[0])


@dataclass(frozen=True)
class Table:
    """y = table[x + 128], int8 to int8, element by element."""

    input: int
    output: int
    input_length: int
    table: NDArray[np.int8]

    @property
    def inputs(self) -> tuple[int, ...]:
        """Tensors that it reads."""
        return (self.input,)

    @property
    def reusable(self) -> tuple[int, ...]:
        """Inputs whose memory the output may take."""
        return (self.input,)

    @property
    def output_length(self) -> int:
        """As many as inputs."""
        return self.input_length


Node = FullyConnected | Table | Binary | Reduce | Softmax | Copy


def row_multiplier(real: float, where: str) -> tuple[int, int]:
    """``(q32, shift1)``: real = q32 / 2^32 / 2^(shift1 + 1), q32 in [2^31, 2^32) and even.

    A multiplier that TFLM takes as zero becomes (2^31, 30): it rounds every int32 accumulator above
    -2^31 to zero just as well, and keeps q32 normal.
    """
    q, shift = fixed_point.quantize_multiplier(real)
    if q == 0:
        return 1 << 31, 30
    if not -31 <= shift <= 30:
        raise ModelError(
            f"{where}: its scales ask for a multiplier of {real:.3g}; at most 2^30 is possible: "
            "look for a tensor whose calibrated range is wrong"
        )
    return q * 2, -shift - 1


def lower(model: TfliteModel) -> list[Node]:
    """The model as plan nodes, in order; RESHAPE disappears. Raises ModelError."""
    alias: dict[int, int] = {}
    nodes: list[Node] = []
    for op in model.operators:
        sources = tuple(alias.get(i, i) for i in op.operands)
        source = sources[0]
        x, y = model.tensors[op.inputs[0]], model.tensors[op.outputs[0]]
        if op.name == "RESHAPE":
            same_size(model, op, x, y)
            alias[op.outputs[0]] = source
        elif op.name == "FULLY_CONNECTED":
            nodes.append(_fully_connected(model, op, source))
        elif op.name in BINARY:
            nodes.append(lowering_operators.binary(model, op, sources))
        elif op.name in ("MEAN", "SUM"):
            nodes.append(lowering_operators.reduce(model, op, source))
        elif op.name == "SOFTMAX":
            nodes.append(lowering_operators.softmax(model, op, source))
        elif op.name == "CONCATENATION":
            nodes += lowering_operators.concatenation(model, op, sources)
        else:
            same_size(model, op, x, y)
            nodes.append(Table(source, op.outputs[0], x.size, _table(model, op, x, y)))
    if not nodes or alias.get(model.output, model.output) == model.input:
        raise ModelError(f"{model.source}: the output is the input; give a model that computes")
    return nodes


def output_of(model: TfliteModel, nodes: list[Node]) -> int:
    """The tensor, among the nodes' outputs, that holds the model's output."""
    made = {n.output for n in nodes}
    t = model.output
    while t not in made:
        t = next(op.inputs[0] for op in model.operators if op.outputs[0] == t)
    return t


def _fully_connected(model: TfliteModel, op: TfliteOperator, source: int) -> FullyConnected:
    x, y = model.tensors[op.inputs[0]], model.tensors[op.outputs[0]]
    if len(op.inputs) not in (2, 3) or op.inputs[1] < 0:
        raise ModelError(f"{where(model, op, y)}: {len(op.inputs)} inputs; it takes two or three")
    w = model.tensors[op.inputs[1]]
    at = where(model, op, w)
    if w.type != "INT8" or w.data is None:
        kind = "not constant" if w.data is None else f"of type {w.type}"
        raise ModelError(f"{at}: weights are {kind}; convert to constant int8 weights")
    if op.options.get("weights_format", 0) != 0:
        raise ModelError(f"{at}: shuffled weights; convert with the default weights format")
    if len(w.shape) != 2 or w.shape[1] != x.size or w.shape[0] != y.size:
        raise ModelError(
            f"{at}: weights {list(w.shape)} for {x.size} inputs and {y.size} outputs; convert the "
            "model again"
        )
    n = w.shape[0]
    if np.any(w.zero_points != 0):
        raise ModelError(f"{at}: weights with a zero point; use symmetric weights (the default)")
    if len(w.scales) not in (1, n) or (len(w.scales) > 1 and w.axis != 0):
        raise ModelError(
            f"{at}: {len(w.scales)} scales along axis {w.axis} for {n} outputs; use per-tensor or "
            "per-output-channel weights"
        )
    if not np.all(np.isfinite(w.scales)) or np.any(w.scales < 0):
        raise ModelError(f"{at}: a scale is negative or not a number; convert the model again")
    lo, hi = activation_range(model, op, y)
    si, so = float(x.scale), float(y.scale)
    multipliers = tuple(row_multiplier(si * float(s) / so, at) for s in w.scales)
    return FullyConnected(
        source,
        op.outputs[0],
        np.ascontiguousarray(w.data, np.int8),
        _bias(model, op, n, si, so, w),
        multipliers if len(multipliers) == n else multipliers * n,
        x.zero_point,
        y.zero_point,
        lo,
        hi,
    )


def _bias(
    model: TfliteModel, op: TfliteOperator, n: int, si: float, so: float, w: Tensor
) -> NDArray[np.int64]:
    if len(op.inputs) < 3 or op.inputs[2] < 0:
        return np.zeros(n, np.int64)
    b = model.tensors[op.inputs[2]]
    at = where(model, op, b)
    if b.type != "INT32" or b.data is None or b.size != n:
        raise ModelError(
            f"{at}: bias of type {b.type} and shape {list(b.shape)}; use a constant int32 bias, "
            "one per output"
        )
    if len(w.scales) == 1 and len(b.scales) == 1:
        product = si * float(w.scales[0])
        if abs(product - float(b.scales[0])) / so > 0.02:
            raise ModelError(
                f"{at}: bias scale {b.scales[0]:.6g} is not input scale times weight scale "
                f"({product:.6g}); convert the model again"
            )
    return b.data.reshape(-1).astype(np.int64)


def _table(model: TfliteModel, op: TfliteOperator, x: Tensor, y: Tensor) -> NDArray[np.int8]:
    codes = range(-128, 128)
    at = where(model, op, y)
    scale, zero = float(x.scale), x.zero_point
    if op.name == "LOGISTIC":
        if y.zero_point != -128 or abs(float(y.scale) * 256 - 1) > 1e-3:
            raise ModelError(f"{at}: LOGISTIC makes scale 1/256, zero point -128; convert again")
        return np.array([fixed_point.logistic_code(c, scale, zero) for c in codes], np.int8)
    if op.name == "TANH":
        if y.zero_point != 0 or abs(float(y.scale) * 128 - 1) > 1e-3:
            raise ModelError(f"{at}: TANH makes scale 1/128, zero point 0; convert again")
        return np.array([fixed_point.tanh_code(c, scale, zero) for c in codes], np.int8)
    if op.name == "RELU6":
        if x.scale != y.scale or x.zero_point != y.zero_point:
            raise ModelError(f"{at}: RELU6 cannot rescale; fuse it into the layer before it")
        six = min(max(quantized(6.0, x.scale, zero), -128), 127)
        return np.array([min(max(c, zero), six) for c in codes], np.int8)
    if op.name == "LEAKY_RELU":
        return _leaky_relu(op, x, y, at)
    # RELU, RELU_N1_TO_1 and QUANTIZE: rescale, then clamp
    q, shift = fixed_point.quantize_multiplier(scale / float(y.scale))
    if shift > 30:
        raise ModelError(f"{at}: rescaling by {scale / float(y.scale):.3g}; look for a wrong range")
    name = "NONE" if op.name == "QUANTIZE" else op.name
    low, high = activation_range(model, op, y, name)
    values = [
        fixed_point.int32(
            fixed_point.multiply_by_quantized_multiplier(c - zero, q, shift) + y.zero_point
        )
        for c in codes
    ]
    return np.array([min(max(v, low), high) for v in values], np.int8)


def _leaky_relu(op: TfliteOperator, x: Tensor, y: Tensor, at: str) -> NDArray[np.int8]:
    """Rescale, below zero by alpha times as much (QuantizeLeakyRelu); scales meet in float32."""
    alpha = np.float32(op.options.get("alpha", 0.0))
    if not 0 <= alpha < np.inf:
        raise ModelError(f"{at}: alpha {alpha:g}; it is not negative: use another activation")
    above, below = (
        fixed_point.quantize_multiplier(float(scale / y.scale))
        for scale in (x.scale, x.scale * alpha)
    )
    if max(above[1], below[1]) > 30:
        raise ModelError(f"{at}: rescaling by {x.scale / y.scale:.3g}; look for a wrong range")
    codes = [
        fixed_point.multiply_by_quantized_multiplier(
            c - x.zero_point, *(above if c >= x.zero_point else below)
        )
        + y.zero_point
        for c in range(-128, 128)
    ]
    return np.clip(codes, -128, 127).astype(np.int8)
