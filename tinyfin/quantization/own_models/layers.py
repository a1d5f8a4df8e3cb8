# SPDX-License-Identifier: Apache-2.0
"""A network that another tool made, as few kinds of nodes, and the Keras network that it becomes.

Every value is one vector per row. Scalings by constants are folded into the dense layer before or
after them: they cost no operator, and inputs of different ranges do not share an int8 tensor.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType
from typing import Literal

import numpy as np
import numpy.typing as npt

from tinyfin.errors import ModelError
from tinyfin.training.keras_types import Network, Tensor

__all__ = ["Activation", "Layers"]

_MAX_WIDTH = 65500
"""Of a vector: that of a plan."""
_MAX_NODES = 512
"""Keras takes seconds to build more, and gives up at about 1000 in a row."""
_MAX_NUMBERS = 1 << 24
"""Of all weights and factors: a file can use one constant many times."""

_LARGEST = float(np.finfo(np.float32).max)

Floats = npt.NDArray[np.float64]
Activation = Literal["relu", "relu6", "leaky_relu", "tanh", "sigmoid", "softmax"]
Combination = Literal["add", "subtract", "multiply", "concatenate"]


@dataclass(frozen=True)
class _Dense:
    """x @ weights[in, out] + bias[out]."""

    sources: tuple[int]
    weights: Floats
    bias: Floats


@dataclass(frozen=True)
class _Scale:
    """x * factor + offset, element by element."""

    sources: tuple[int]
    factor: Floats
    offset: Floats


@dataclass(frozen=True)
class _Activate:
    sources: tuple[int]
    name: Activation
    slope: float = 0.0
    """Of leaky_relu below 0."""


@dataclass(frozen=True)
class _Combine:
    sources: tuple[int, ...]
    how: Combination


_Node = _Dense | _Scale | _Activate | _Combine


class Layers:
    """A network under construction. Values are numbered: 0 is the input, each call gives another.

    Calls raise ModelError for what does not fit together.
    """

    def __init__(self, width: int, factor: float = 1.0) -> None:
        """``width`` inputs, each to be multiplied by ``factor`` first."""
        self._nodes: list[_Node | None] = [None]
        self._widths: list[int] = []
        self._numbers = 0
        self._note_width(width)
        self.input = 0
        """Value of the inputs, multiplied."""
        if factor != 1.0:
            self.input = self.scale(0, np.full(width, factor), np.zeros(width))
        self.output = self.input
        """Value that is the score."""
        self.names: tuple[str, ...] | None = None
        """Of the inputs, where the file has them."""

    def width(self, value: int) -> int:
        """Elements of a value."""
        return self._widths[value]

    def dense(self, x: int, weights: Floats, bias: Floats) -> int:
        """x @ weights[in, out] + bias[out]."""
        fits = weights.ndim == 2 and weights.shape[0] == self.width(x)
        if not fits or bias.shape != weights.shape[1:]:
            raise ModelError(
                f"weights of shape {list(weights.shape)} and bias {list(bias.shape)} on "
                f"{self.width(x)} values"
            )
        before = self._nodes[x]
        if isinstance(before, _Scale):
            bias = bias + before.offset @ weights
            weights = before.factor[:, None] * weights
            (x,) = before.sources
        return self._add(_Dense((x,), _finite(weights), _finite(bias)), weights.shape[1])

    def scale(self, x: int, factor: Floats, offset: Floats) -> int:
        """x * factor + offset, each one number or one per element."""
        width = self.width(x)
        if any(part.size not in (1, width) for part in (factor, offset)):
            raise ModelError(f"constants of {factor.size} and {offset.size} values on {width}")
        factor = np.broadcast_to(_finite(factor).ravel(), width)
        offset = np.broadcast_to(_finite(offset).ravel(), width)
        before = self._nodes[x]
        if isinstance(before, _Scale):
            offset, factor = before.offset * factor + offset, before.factor * factor
            return self._add(_Scale(before.sources, _finite(factor), _finite(offset)), width)
        if isinstance(before, _Dense):
            weights, bias = before.weights * factor, before.bias * factor + offset
            return self._add(_Dense(before.sources, _finite(weights), _finite(bias)), width)
        return self._add(_Scale((x,), factor, offset), width)

    def activate(self, x: int, name: Activation, slope: float = 0.0) -> int:
        """An activation of each element; softmax is over all of them. ``slope`` is 0 or more."""
        if _finite(np.array(slope)) < 0.0:
            raise ModelError(f"its slope below 0 is {slope:g}; use a slope of 0 or more")
        return self._add(_Activate((x,), name, slope), self.width(x))

    def clip(self, x: int, low: float, high: float) -> int:
        """Elements between ``low`` and ``high``, either of which may be infinite."""
        if not low < high:
            raise ModelError(f"clips to {low} ... {high}")
        one = np.ones(1)
        if np.isinf(high) or np.isinf(low):
            if np.isinf(low) and np.isinf(high):
                return x
            edge, sign = (low, one) if np.isinf(high) else (high, -one)
            above = self.activate(self.scale(x, sign, -sign * edge), "relu")
            return self.scale(above, sign, edge * one)
        step = (high - low) / 6.0
        scaled = self.activate(self.scale(x, one / step, one * (-low / step)), "relu6")
        return self.scale(scaled, step * one, low * one)

    def combine(self, how: Combination, *values: int) -> int:
        """Values of one width added, subtracted or multiplied; or put behind each other."""
        widths = [self.width(x) for x in values]
        if how == "concatenate":
            return values[0] if len(values) == 1 else self._add(_Combine(values, how), sum(widths))
        if len(set(widths)) != 1:
            raise ModelError(f"{how}s vectors of {' and '.join(map(str, widths))} values")
        return self._add(_Combine(values, how), widths[0])

    def logit(self, x: int) -> int | None:
        """What a last sigmoid, or a softmax of two, took its probability of class 1 from; None when
        ``x`` is no such probability."""
        node = self._nodes[x]
        if isinstance(node, _Combine) and node.how == "concatenate" and len(node.sources) == 2:
            no, yes = node.sources  # 1 - p and p
            other = self._nodes[no]
            is_rest = (
                isinstance(other, _Scale)
                and other.sources == (yes,)
                and other.factor.tolist() == [-1.0]
                and other.offset.tolist() == [1.0]
            )
            return self.logit(yes) if is_rest else None
        if not isinstance(node, _Activate):
            return None
        (x,) = node.sources
        if node.name == "sigmoid":
            return x
        if node.name != "softmax" or self.width(x) != 2:
            return None
        difference, before = np.array([[-1.0], [1.0]]), self._nodes[x]
        if isinstance(before, _Dense):
            return self.dense(
                before.sources[0], before.weights @ difference, before.bias @ difference
            )
        return self.dense(x, difference, np.zeros(1))

    def network(self, tf: ModuleType) -> Network:
        """The Keras network from the input to ``output``."""
        needed = {self.output}
        for at in range(self.output, 0, -1):
            node = self._nodes[at]
            if at in needed and node is not None:
                needed |= set(node.sources)
        first = tf.keras.Input((self.width(0),))
        made: dict[int, Tensor] = {0: first}
        for at in sorted(needed - {0}):
            node = self._nodes[at]
            assert node is not None
            made[at] = _layer(tf, node, self.width(at), [made[x] for x in node.sources])
        network: Network = tf.keras.Model(first, made[self.output])
        return network

    def _add(self, node: _Node, width: int) -> int:
        self._note_width(width)
        self._nodes.append(node)
        if len(self._nodes) > _MAX_NODES:
            raise ModelError(f"more than {_MAX_NODES} layers; no terminal holds them")
        if isinstance(node, _Dense):
            self._numbers += node.weights.size
        elif isinstance(node, _Scale):
            self._numbers += 2 * width
        if self._numbers > _MAX_NUMBERS:
            raise ModelError(f"more than {_MAX_NUMBERS} weights; no terminal holds them")
        return len(self._nodes) - 1

    def _note_width(self, width: int) -> None:
        if not 1 <= width <= _MAX_WIDTH:
            raise ModelError(f"a vector of {width} values; a plan holds 1 to {_MAX_WIDTH}")
        self._widths.append(width)


def _finite(values: Floats) -> Floats:
    if not np.all(np.abs(values) <= _LARGEST):
        raise ModelError("its constants, or what they make, hold NaN or infinity in float32")
    return values


def _layer(tf: ModuleType, node: _Node, width: int, x: list[Tensor]) -> Tensor:
    kinds = tf.keras.layers
    if isinstance(node, _Combine):
        return getattr(kinds, node.how.capitalize())()(x)
    if isinstance(node, _Activate):
        if node.name in ("tanh", "sigmoid"):
            return kinds.Activation(node.name)(x[0])
        if node.name == "leaky_relu":
            return kinds.LeakyReLU(negative_slope=node.slope)(x[0])
        if node.name == "softmax":
            return kinds.Softmax()(x[0])
        return kinds.ReLU(max_value=6.0 if node.name == "relu6" else None)(x[0])
    if isinstance(node, _Dense):
        layer = kinds.Dense(width)
        out = layer(x[0])
        layer.set_weights([node.weights.astype(np.float32), node.bias.astype(np.float32)])
        return out
    # x * gamma + beta, with mean 0 and variance 1
    layer = kinds.BatchNormalization(epsilon=0.0)
    out = layer(x[0])
    still = np.zeros(width, np.float32), np.ones(width, np.float32)
    layer.set_weights([node.factor.astype(np.float32), node.offset.astype(np.float32), *still])
    return out
