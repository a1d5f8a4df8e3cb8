# SPDX-License-Identifier: Apache-2.0
"""Lowering of the operators other than FULLY_CONNECTED and tables, with TFLM's numbers.

A scale is TFLM's ``(multiplier_q31, shift)``: x * multiplier_q31 * 2^(shift - 31), rounded twice.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tinyfin.errors import ModelError
from tinyfin.pack.lowering_common import activation_range, check_rank, same_size, where
from tinyfin.tflite import fixed_point
from tinyfin.tflite.model import Tensor, TfliteModel, TfliteOperator

__all__ = ["Binary", "Copy", "Reduce", "Softmax", "binary", "concatenation", "reduce", "softmax"]

Scale = tuple[int, int]
SOFTMAX_DEPTH_MAX = 511


@dataclass(frozen=True)
class Binary:
    """ADD, SUB, MUL or SQUARED_DIFFERENCE. ``first`` is a tensor, ``second`` one or a constant.

    ``signs``: of first and second (ADD, SUB). Operands shorter than the output repeat.
    """

    name: str
    first: int
    second: int | NDArray[np.int8]
    output: int
    first_length: int
    second_length: int
    output_length: int
    first_zero_point: int
    second_zero_point: int
    output_zero_point: int
    activation_min: int
    activation_max: int
    scale: Scale
    first_scale: Scale = (0, 0)
    second_scale: Scale = (0, 0)
    signs: tuple[int, int] = (1, 1)

    @property
    def inputs(self) -> tuple[int, ...]:
        """Tensors that it reads."""
        return (self.first,) if isinstance(self.second, np.ndarray) else (self.first, self.second)

    @property
    def reusable(self) -> tuple[int, ...]:
        """Inputs whose memory the output may take: read element by element, no shorter."""
        lengths = (self.first_length, self.second_length)
        pairs = zip(self.inputs, lengths, strict=False)
        return tuple(t for t, n in pairs if n == self.output_length)


@dataclass(frozen=True)
class Reduce:
    """SUM or MEAN: every output is made from ``count`` inputs that follow one another."""

    name: str
    input: int
    output: int
    input_length: int
    count: int
    input_zero_point: int
    output_zero_point: int
    scale: Scale

    @property
    def inputs(self) -> tuple[int, ...]:
        """Tensors that it reads."""
        return (self.input,)

    reusable: tuple[int, ...] = ()

    @property
    def output_length(self) -> int:
        """Number of sums."""
        return self.input_length // self.count


@dataclass(frozen=True)
class Softmax:
    """Over ``rows`` times ``depth`` inputs; ``exps``: exp(-d) * 2^31, d codes below."""

    input: int
    output: int
    rows: int
    depth: int
    exps: NDArray[np.uint32]

    @property
    def inputs(self) -> tuple[int, ...]:
        """Tensors that it reads."""
        return (self.input,)

    @property
    def reusable(self) -> tuple[int, ...]:
        """Its input."""
        return (self.input,)

    @property
    def output_length(self) -> int:
        """As many as inputs."""
        return self.rows * self.depth


@dataclass(frozen=True)
class Copy:
    """``rows`` times ``length`` bytes, written to ``at``, ``at + stride``, ... of the output."""

    input: int
    output: int
    output_length: int
    rows: int
    length: int
    stride: int
    at: int

    reusable: tuple[int, ...] = ()

    @property
    def inputs(self) -> tuple[int, ...]:
        """Tensors that it reads."""
        return (self.input,)


def _scale(real: float, at: str, limit: float = float(1 << 30)) -> Scale:
    q, shift = fixed_point.quantize_multiplier(real)
    if not real < limit or shift > 30 or (limit == 1.0 and shift > 0):
        raise ModelError(
            f"{at}: its scales ask for a multiplier of {real:.3g}; it must stay below {limit:.3g}: "
            "look for a tensor whose calibrated range is wrong"
        )
    return q, shift


def _broadcast(model: TfliteModel, op: TfliteOperator, t: Tensor, y: Tensor) -> None:
    """An operand has the output's shape, or the shape of its last axes, or one element."""
    shape = t.shape
    while shape and shape[0] == 1:
        shape = shape[1:]
    if shape != y.shape[len(y.shape) - len(shape) :]:
        raise ModelError(
            f"{where(model, op, t)}: shape {list(t.shape)} against an output of {list(y.shape)}; "
            "an operand has the same shape, the last axes of it, or one element"
        )


def binary(model: TfliteModel, op: TfliteOperator, sources: tuple[int, ...]) -> Binary:
    """ADD, SUB, MUL, SQUARED_DIFFERENCE; ``sources``: its inputs with reshapes looked through."""
    y = model.tensors[op.outputs[0]]
    pair = [model.tensors[i] for i in op.inputs]
    check_rank(model, op, y)
    for t in pair:
        _broadcast(model, op, t, y)
    if y.size not in (pair[0].size, pair[1].size):
        raise ModelError(f"{where(model, op, y)}: shape {list(y.shape)} fits no operand")
    signs = (1, -1) if op.name == "SUB" else (1, 1)
    order = (1, 0) if pair[0].data is not None else (0, 1)
    a, b = (pair[i] for i in order)
    at = where(model, op, y)
    s1, s2, so = float(a.scale), float(b.scale), float(y.scale)
    lo, hi = activation_range(model, op, y)
    twice = 2.0 * max(s1, s2)
    first = second = (0, 0)
    if op.name == "MUL":
        scale = _scale(s1 * s2 / so, at)
    else:
        first, second = _scale(s1 / twice, at), _scale(s2 / twice, at)
        if op.name == "SQUARED_DIFFERENCE":
            scale = _scale(twice * twice / ((1 << 14) * so), at)
        else:
            scale = _scale(twice / ((1 << 20) * so), at, 1.0)
    constant = None if b.data is None else np.ascontiguousarray(b.data, np.int8).reshape(-1)
    return Binary(
        op.name,
        sources[order[0]],
        sources[order[1]] if constant is None else constant,
        op.outputs[0],
        a.size,
        b.size,
        y.size,
        a.zero_point,
        b.zero_point,
        y.zero_point,
        lo,
        hi,
        scale,
        first,
        second,
        (signs[order[0]], signs[order[1]]),
    )


def reduce(model: TfliteModel, op: TfliteOperator, source: int) -> Reduce:
    """SUM and MEAN over the last axes; axes of one element do not matter."""
    x, y = model.tensors[op.inputs[0]], model.tensors[op.outputs[0]]
    if len(op.inputs) != 2 or op.inputs[1] < 0:
        raise ModelError(f"{where(model, op, y)}: {len(op.inputs)} inputs; it takes two")
    check_rank(model, op, x)
    axis = model.tensors[op.inputs[1]]
    if axis.type != "INT32" or axis.data is None:
        kind = "not constant" if axis.data is None else f"of type {axis.type}"
        raise ModelError(f"{where(model, op, axis)}: axes are {kind}; use constant int32 axes")
    rank = len(x.shape)
    axes = {int(a) for a in axis.data.reshape(-1)}
    if not axes or not all(-rank <= a < rank for a in axes):
        raise ModelError(f"{where(model, op, axis)}: axes {sorted(axes)} of {rank} dimensions")
    axes = {a % rank for a in axes if x.shape[a] > 1}
    wide = [d for d in range(rank) if x.shape[d] > 1]
    if axes and set(wide[-len(axes) :]) != axes:
        raise ModelError(
            f"{where(model, op, x)}: {op.name} over axes {sorted(axes)} of {list(x.shape)}; "
            "only the last axes can be summed: reduce axis -1 or all, or use a constant Dense layer"
        )
    count = math.prod(x.shape[d] for d in axes)
    if y.size * count != x.size:
        raise ModelError(f"{where(model, op, y)}: {y.size} elements; convert the model again")
    q, shift = _scale(float(x.scale) / float(y.scale), where(model, op, y))
    if op.name == "MEAN":
        extra = min(count.bit_length() - 1, 32, 31 + shift)
        q, shift = (q << extra) // count, shift - extra
    return Reduce(
        op.name, source, op.outputs[0], x.size, count, x.zero_point, y.zero_point, (q, shift)
    )


def softmax(model: TfliteModel, op: TfliteOperator, source: int) -> Softmax:
    """SOFTMAX over the last axis."""
    x, y = model.tensors[op.inputs[0]], model.tensors[op.outputs[0]]
    at = where(model, op, y)
    same_size(model, op, x, y)
    check_rank(model, op, y)
    if y.zero_point != -128 or float(y.scale) != 1 / 256:
        raise ModelError(f"{at}: SOFTMAX makes scale 1/256, zero point -128; convert again")
    if not x.shape or x.shape[-1] > SOFTMAX_DEPTH_MAX:
        raise ModelError(
            f"{at}: shape {list(x.shape)}; SOFTMAX takes 1 to {SOFTMAX_DEPTH_MAX} classes (TFLM "
            "stops with an error beyond): end the model in its logits"
        )
    beta = op.options.get("beta")
    real = math.nan if beta is None else beta * float(x.scale) * (1 << 26)
    if not real > 1.0:
        raise ModelError(
            f"{at}: beta {beta} with an input scale of {float(x.scale):.3g}; beta is positive and "
            "its product with the scale at least 2^-26: use beta = 1"
        )
    return Softmax(
        source,
        op.outputs[0],
        x.size // x.shape[-1],
        x.shape[-1],
        np.array(fixed_point.softmax_exps(real), np.uint32),
    )


def concatenation(model: TfliteModel, op: TfliteOperator, sources: tuple[int, ...]) -> list[Copy]:
    """One copy per input; all have the output's scale and zero point."""
    y = model.tensors[op.outputs[0]]
    at = where(model, op, y)
    if op.options.get("activation", "NONE") != "NONE":
        raise ModelError(
            f"{at}: fused activation {op.options['activation']}; TFLM concatenates without one: "
            "use an activation of its own after it"
        )
    check_rank(model, op, y)
    rank = len(y.shape)
    axis = op.options.get("axis", 0)
    if not -rank <= axis < rank:
        raise ModelError(f"{at}: axis {axis} of {rank} dimensions; use -1, the last axis")
    axis %= rank
    rows = math.prod(y.shape[:axis])
    stride = math.prod(y.shape[axis:])
    copies, position = [], 0
    for index, source in zip(op.inputs, sources, strict=True):
        t = model.tensors[index]
        if (*t.shape[:axis], *t.shape[axis + 1 :]) != (*y.shape[:axis], *y.shape[axis + 1 :]):
            raise ModelError(
                f"{where(model, op, t)}: shape {list(t.shape)} along axis {axis} into "
                f"{list(y.shape)}; convert the model again"
            )
        if t.scale != y.scale or t.zero_point != y.zero_point:
            raise ModelError(
                f"{where(model, op, t)}: scale {t.scale:.6g}, zero point {t.zero_point} into "
                f"{y.scale:.6g}, {y.zero_point}; CONCATENATION does not rescale: put a QUANTIZE "
                "before it, as the converter does"
            )
        length = t.size // rows
        copies.append(Copy(source, op.outputs[0], y.size, rows, length, stride, position))
        position += length
    if position != stride:
        raise ModelError(f"{at}: {rows * position} elements for {y.size}; convert the model again")
    return copies
