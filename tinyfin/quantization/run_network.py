# SPDX-License-Identifier: Apache-2.0
"""What a run's network is made of: its file, its plan, how its score is read, and what to expect.

A Keras network is read from its int8 ``.tflite``; tables and trees from ``model.json``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tinyfin.errors import ConfigError, ModelError
from tinyfin.pack.integer_model import decode_integer_model
from tinyfin.pack.integer_plan import compile_integer_plan
from tinyfin.pack.lowering import FullyConnected, lower
from tinyfin.pack.plan import compile_plan
from tinyfin.pack.readout import Readout
from tinyfin.progress import shown
from tinyfin.quantization.keras_to_tflite import check_input
from tinyfin.quantization.parity import distance, parity
from tinyfin.results.parity import Comparison
from tinyfin.tflite import model as tflite_model

__all__ = [
    "RAW_BITS",
    "Network",
    "accumulator_bounds",
    "accumulator_shift",
    "compare_with_oracle",
    "network_of",
]

RAW_BITS = 17
"""An accumulator's read-out keeps at most this many bits: then the table that must rise by 2^-32
per raw score spends less than 2^-15 of the probability on rising."""
SQUARES_BITS = 22
"""A sum of squares may keep more: nearly all rows are near its low end, where little is spent."""
_ERROR_STEPS = 1024
"""Multiplier of the inputs in a reconstruction's read-out: errors count in quarters of a code."""
_ORACLE_ROWS = 400


@dataclass(frozen=True)
class Network:
    """A network, ready to be packed."""

    file: bytes
    """``model.tflite`` or ``model.json``: what names the model."""
    is_tflite: bool
    plan: bytes
    readout: Readout
    bounds: tuple[int, int]
    """Smallest and largest raw score that any input can give."""


def network_of(file: bytes, where: Path, readout: str) -> Network:
    """Read a ``.tflite`` or a ``model.json``; ``readout`` is the family's. Raises ModelError."""
    if file[:1] == b"{":
        integers = decode_integer_model(file, str(where))
        low, high = integers.bounds
        shift = accumulator_shift((low, high))
        plan = compile_integer_plan(integers)
        return Network(
            file, False, plan, Readout.accumulator(0, shift), (low >> shift, high >> shift)
        )
    model = tflite_model.load(file, str(where))
    check_input(file)
    nodes = lower(model)
    last = nodes[-1]
    if not isinstance(last, FullyConnected):
        raise ModelError(
            f"{where}: the network must end in a dense layer; leave the last activation out"
        )
    read, bounds = _readout(model, last, readout, where)
    plan = compile_plan(model, accumulators=readout == "accumulator")
    return Network(file, True, plan, read, bounds)


def _readout(
    model: tflite_model.TfliteModel, last: FullyConnected, readout: str, where: Path
) -> tuple[Readout, tuple[int, int]]:
    if readout == "accumulator":
        if last.output_length != 1:
            raise ModelError(
                f"{where}: the network must end in a dense layer with one linear output, the "
                "logit; leave the sigmoid out"
            )
        bounds = accumulator_bounds(last)
        shift = accumulator_shift(bounds)
        return Readout.accumulator(0, shift), (bounds[0] >> shift, bounds[1] >> shift)
    zero = last.output_zero_point
    widest = max(abs(last.activation_min - zero), abs(last.activation_max - zero))
    if readout == "sum_of_squares":
        most = last.output_length * widest**2
        shift = max(0, most.bit_length() - SQUARES_BITS)
        return Readout.sum_of_squares(zero_point=zero, shift=shift), (0, most >> shift)
    if readout != "reconstruction":
        raise ModelError(f"{where}: read-out {readout!r} is none that this tinyfin knows")
    source, target = model.input_tensor, model.output_tensor
    if target.size != source.size:
        raise ModelError(
            f"{where}: {target.size} outputs for {source.size} inputs; a reconstruction gives back "
            "as many as it got"
        )
    scale_out = round(_ERROR_STEPS * float(target.scale) / float(source.scale))
    if not 0 < scale_out <= 65535:
        raise ModelError(f"{where}: the output's scale {target.scale} is not near the input's")
    error = (128 * _ERROR_STEPS + widest * scale_out >> 8) + 1
    most = source.size * error**2
    shift = max(0, most.bit_length() - SQUARES_BITS)
    found = Readout.reconstruction(
        zero_in=source.zero_point,
        scale_in=_ERROR_STEPS,
        zero_out=zero,
        scale_out=scale_out,
        shift=shift,
    )
    return found, (0, most >> shift)


def accumulator_bounds(node: FullyConnected, index: int = 0) -> tuple[int, int]:
    """Smallest and largest accumulator that any int8 input of the layer can give."""
    w = node.weights[index].astype(np.int64)
    ends = np.stack([w * (v - node.input_zero_point) for v in (-128, 127)])
    bias = int(node.bias[index])
    return bias + int(ends.min(axis=0).sum()), bias + int(ends.max(axis=0).sum())


def accumulator_shift(bounds: tuple[int, int]) -> int:
    """The shift that brings the whole range of an accumulator within RAW_BITS bits."""
    return max(0, (bounds[1] - bounds[0]).bit_length() - RAW_BITS)


def compare_with_oracle(
    network: Network,
    path: Path,
    rows: npt.NDArray[np.int8],
    native: Callable[[npt.NDArray[np.int8]], npt.NDArray[np.int8]],
    interpreter: Path | None = None,
) -> Comparison:
    """Bytes of the plan's outputs against the independent reference: TFLM's interpreter for a
    ``.tflite`` (as :func:`tinyfin.quantization.parity.parity` says), the plain-Python oracle for
    ``model.json``. ``native`` runs the plan on int8[n, inputs]. ``interpreter``: a Python whose
    interpreter is compared too; ConfigError for ``model.json``, which none reads."""
    if network.is_tflite:
        return parity(path, rows, native, interpreter=interpreter)
    if interpreter is not None:
        raise ConfigError(
            "a family of tables or trees has no .tflite for an interpreter; leave --interpreter out"
        )
    from tinyfin.oracle.terms import terms_network

    at = np.linspace(0, len(rows) - 1, min(len(rows), _ORACLE_ROWS)).astype(np.int64)
    some = np.ascontiguousarray(rows[at])
    oracle = terms_network(network.file)
    answers = [oracle(row.tolist())[0] for row in shown("comparing with the oracle", some)]
    expected = np.array(answers, np.int8)
    return Comparison(
        reference="the oracle",
        rows=len(some),
        bytes=int(expected.size),
        missing=[],
        plan=distance(native(some), expected),
    )
