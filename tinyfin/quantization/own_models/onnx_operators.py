# SPDX-License-Identifier: Apache-2.0
"""What each operator of ONNX is in layers: https://onnx.ai/onnx/operators."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tinyfin.errors import ModelError
from tinyfin.quantization.own_models.layers import Activation, Combination, Layers

__all__ = ["OPERATORS", "Constant", "Value", "Values", "Work"]

_FLOATS = (1, 11)
"""FLOAT and DOUBLE of TensorProto."""


@dataclass(frozen=True)
class Constant:
    """Numbers of the file."""

    array: npt.NDArray[np.generic]

    @property
    def floats(self) -> npt.NDArray[np.float64]:
        """As numbers to compute with."""
        return self.array.astype(np.float64)


@dataclass(frozen=True)
class Value:
    """A value of the layers."""

    at: int
    flat: bool = False
    """It is one number per row, of shape (rows,) in place of (rows, 1)."""


Given = Constant | Value
Values = dict[str, Given]


@dataclass(frozen=True)
class Work:
    """What operators are added to."""

    layers: Layers
    opset: int
    rows: int | None
    """Rows of the input, where the file fixes them."""


_Inputs = list[Given | None]
_Attributes = Mapping[str, object]
Operator = Callable[[Work, _Inputs, _Attributes], Given]


def _constant(given: _Inputs, at: int, what: str) -> Constant:
    found = given[at] if at < len(given) else None
    if not isinstance(found, Constant):
        raise ModelError(f"its {what} must be a constant of the file")
    return found


def _value(given: _Inputs, at: int = 0) -> Value:
    found = given[at] if at < len(given) else None
    if not isinstance(found, Value):
        raise ModelError("it must compute with a value that comes from the input")
    return found


def _rows_of(given: _Inputs, at: int = 0) -> Value:
    """A value of shape (rows, width)."""
    found = _value(given, at)
    if found.flat:
        raise ModelError("it gets one number per row without a second dimension; drop the Squeeze")
    return found


def _number(of: _Attributes, name: str, usual: float) -> float:
    found = of.get(name, usual)
    if not isinstance(found, int | float) or not np.isfinite(found):
        raise ModelError(f"its {name} is {found!r}")
    return float(found)


def _whole(given: _Inputs, of: _Attributes, name: str) -> list[int] | None:
    """Whole numbers, from the second input or, of old opsets, from an attribute."""
    if len(given) > 1 and given[1] is not None:
        return [int(x) for x in _constant(given, 1, name).array.ravel()[:8]]
    found = of.get(name)
    return [int(x) for x in found] if isinstance(found, list) else None


def _gemm(work: Work, given: _Inputs, of: _Attributes) -> Given:
    x, b = _rows_of(given), _constant(given, 1, "B").floats
    if of.get("transA", 0):
        raise ModelError("transA=1 mixes rows")
    weights = (b.T if of.get("transB", 0) else b) * _number(of, "alpha", 1.0)
    bias = np.zeros(weights.shape[-1])
    if len(given) > 2 and given[2] is not None:
        c = _constant(given, 2, "C").floats
        bias = np.broadcast_to(_per_element(c), bias.shape) * _number(of, "beta", 1.0)
    return Value(work.layers.dense(x.at, weights, bias))


def _matmul(work: Work, given: _Inputs, of: _Attributes) -> Given:
    weights = _constant(given, 1, "second factor").floats
    return Value(work.layers.dense(_rows_of(given).at, weights, np.zeros(weights.shape[-1])))


def _per_element(c: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """One number, or one per element of each row."""
    if c.ndim > 2 or (c.ndim == 2 and c.shape[0] != 1):
        raise ModelError(f"constants of shape {list(c.shape)}; one row of them is known")
    return c.ravel()


def _arithmetic(how: Combination | None, sign: float, inverse: bool) -> Operator:
    """``how`` of two values; with a constant: x + sign c, or x times c or its inverse."""

    def operator(work: Work, given: _Inputs, of: _Attributes) -> Given:
        first, second = given if len(given) == 2 else (None, None)
        if isinstance(first, Value) and isinstance(second, Value):
            if how is None:
                raise ModelError("divides by what comes from the input")
            if first.flat != second.flat:
                raise ModelError("puts (rows,) and (rows, 1) together; drop the Squeeze")
            return Value(work.layers.combine(how, first.at, second.at), first.flat)
        turned = isinstance(first, Constant)
        x = _value(given, 1 if turned else 0)
        array = _constant(given, 0 if turned else 1, "other operand").floats
        if x.flat and (array.size != 1 or array.ndim > 1):
            raise ModelError("has constants for each row; drop the Squeeze")
        c = _per_element(array)
        one, none = np.ones(1), np.zeros(1)
        if how in ("add", "subtract"):
            factor, offset = (sign * one, c) if turned else (one, sign * c)
            return Value(work.layers.scale(x.at, factor, offset), x.flat)
        if inverse and turned:
            raise ModelError("divides by what comes from the input")
        if inverse and not c.all():
            raise ModelError("divides by 0")
        return Value(work.layers.scale(x.at, 1.0 / c if inverse else c, none), x.flat)

    return operator


def _activation(name: Activation) -> Operator:
    def operator(work: Work, given: _Inputs, of: _Attributes) -> Given:
        x = _value(given)
        slope = _number(of, "alpha", 0.01) if name == "leaky_relu" else 0.0
        return Value(work.layers.activate(x.at, name, slope), x.flat)

    return operator


def _softmax(work: Work, given: _Inputs, of: _Attributes) -> Given:
    if _number(of, "axis", 1 if work.opset < 13 else -1) not in (1, -1):
        raise ModelError("is over rows; use the last axis")
    return Value(work.layers.activate(_rows_of(given).at, "softmax"))


def _clip(work: Work, given: _Inputs, of: _Attributes) -> Given:
    ends = [-np.inf, np.inf]
    for k, name in enumerate(("min", "max")):
        if len(given) > k + 1 and given[k + 1] is not None:
            ends[k] = float(_constant(given, k + 1, name).floats.item())
        elif name in of:
            ends[k] = _number(of, name, 0.0)
    # 3.4e38 is how some exporters say that there is no bound
    low, high = (e if abs(e) < 1e38 else np.copysign(np.inf, e) for e in ends)
    x = _value(given)
    return Value(work.layers.clip(x.at, low, high), x.flat)


def _batch_normalization(work: Work, given: _Inputs, of: _Attributes) -> Given:
    if of.get("training_mode", 0):
        raise ModelError("is in training mode; export after model.eval()")
    gamma, beta, mean, variance = (
        _constant(given, k + 1, name).floats
        for k, name in enumerate(("scale", "bias", "mean", "variance"))
    )
    factor = gamma / np.sqrt(variance + _number(of, "epsilon", 1e-5))
    return Value(work.layers.scale(_rows_of(given).at, factor, beta - mean * factor))


def _scaler(work: Work, given: _Inputs, of: _Attributes) -> Given:
    """ai.onnx.ml: (x - offset) * scale."""
    factor = np.asarray(of.get("scale", [1.0]), np.float64)
    offset = np.asarray(of.get("offset", [0.0]), np.float64)
    return Value(work.layers.scale(_rows_of(given).at, factor, -offset * factor))


def _concat(work: Work, given: _Inputs, of: _Attributes) -> Given:
    if of.get("axis") not in (1, -1):
        raise ModelError("is along the rows; use the last axis")
    parts = [_rows_of(given, k).at for k in range(len(given))]
    return Value(work.layers.combine("concatenate", *parts))


def _same(work: Work, given: _Inputs, of: _Attributes) -> Given:
    if not given or given[0] is None:
        raise ModelError("has no input")
    return given[0]


def _dropout(work: Work, given: _Inputs, of: _Attributes) -> Given:
    if len(given) > 2 and given[2] is not None and _constant(given, 2, "mode").array.any():
        raise ModelError("is in training mode; export after model.eval()")
    return _value(given)


def _cast(work: Work, given: _Inputs, of: _Attributes) -> Given:
    if of.get("to") not in _FLOATS:
        raise ModelError(f"makes type {of.get('to')} of its input; only floats are computed with")
    return _same(work, given, of)


def _constant_node(work: Work, given: _Inputs, of: _Attributes) -> Given:
    for name in ("value", "value_float", "value_floats", "value_int", "value_ints"):
        found = of.get(name)
        if isinstance(found, Constant):
            return found
        if found is not None and name != "value":
            return Constant(np.asarray(found))
    raise ModelError("holds no numbers")


def _transpose(work: Work, given: _Inputs, of: _Attributes) -> Given:
    found = _constant(given, 0, "input").array
    order = of.get("perm")
    return Constant(found.transpose(order if isinstance(order, list) else None))


def _flatten(work: Work, given: _Inputs, of: _Attributes) -> Given:
    if _number(of, "axis", 1) not in (1, -1):
        raise ModelError("mixes rows; use axis 1")
    return _rows_of(given)


def _reshape(work: Work, given: _Inputs, of: _Attributes) -> Given:
    x, shape = _value(given), _whole(given, of, "shape") or []
    width = work.layers.width(x.at)
    if shape == [-1] and width == 1:
        return Value(x.at, True)
    rows = {-1} if x.flat or of.get("allowzero") else {-1, 0}
    fixed = rows | ({work.rows} if work.rows else set())
    kept = len(shape) == 2 and (
        (shape[1] == width and shape[0] in fixed | {1})
        or (shape[1] == -1 and shape[0] in fixed - {-1})
    )
    if not kept:
        raise ModelError(f"makes {shape} of rows of {width}; only (rows, {width}) is known")
    return Value(x.at)


def _squeeze(work: Work, given: _Inputs, of: _Attributes) -> Given:
    x, axes = _rows_of(given), _whole(given, of, "axes")
    if work.layers.width(x.at) != 1 or axes not in (None, [1], [-1]):
        raise ModelError(f"axes {axes} of rows of {work.layers.width(x.at)}; use the last, of one")
    return Value(x.at, True)


def _unsqueeze(work: Work, given: _Inputs, of: _Attributes) -> Given:
    x, axes = _value(given), _whole(given, of, "axes")
    if not x.flat or axes not in ([1], [-1]):
        raise ModelError(f"axes {axes}; only what was squeezed is unsqueezed")
    return Value(x.at)


OPERATORS: Mapping[str, Operator] = {
    "Add": _arithmetic("add", 1.0, False),
    "BatchNormalization": _batch_normalization,
    "Cast": _cast,
    "Clip": _clip,
    "Concat": _concat,
    "Constant": _constant_node,
    "Div": _arithmetic(None, 1.0, True),
    "Dropout": _dropout,
    "Flatten": _flatten,
    "Gemm": _gemm,
    "Identity": _same,
    "LeakyRelu": _activation("leaky_relu"),
    "MatMul": _matmul,
    "Mul": _arithmetic("multiply", 1.0, False),
    "Relu": _activation("relu"),
    "Reshape": _reshape,
    "Scaler": _scaler,
    "Sigmoid": _activation("sigmoid"),
    "Softmax": _softmax,
    "Squeeze": _squeeze,
    "Sub": _arithmetic("subtract", -1.0, False),
    "Tanh": _activation("tanh"),
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
"""By name, what a node of it makes: a value, or a constant where it had constants alone."""
