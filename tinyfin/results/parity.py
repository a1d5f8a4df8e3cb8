# SPDX-License-Identifier: Apache-2.0
"""What quantization compared with what: ``parity.json``."""

from __future__ import annotations

from typing import ClassVar

from tinyfin.results.facts import NAN, Facts, Figure, ResultFile
from tinyfin.results.metrics import Population

__all__ = ["Comparison", "Distance", "FloatAndInt8", "MissingRuntime", "Pair", "Parity", "Sizes"]


class Distance(Facts):
    """Answers of a runtime against the reference's."""

    differing_bytes: int
    max_abs_difference: int
    name: str = ""
    """Of an interpreter that the user gave: its own."""


class MissingRuntime(Facts):
    """A runtime that is not installed, or refuses the model."""

    runtime: str
    why: str


class Comparison(ResultFile):
    """Runtimes against the reference, on the same rows."""

    NAME: ClassVar[str] = "parity.json"

    reference: str = "TFLM"
    rows: int
    bytes: int
    missing: list[MissingRuntime] = []
    plan: Distance | None = None
    """The plan, on the terminal's engine."""
    litert_auto: Distance | None = None
    litert_reference: Distance | None = None
    interpreter: Distance | None = None


class Pair(Facts):
    """A figure of both models."""

    float_: Figure = NAN
    int8: Figure = NAN


class FloatAndInt8(Facts):
    """Figures of both models on one population."""

    average_precision: Pair
    recall_at_0_1_percent: Pair
    calibration_error: Pair = Pair()


class Sizes(Facts):
    """Bytes, and multiplications of one inference."""

    pack_bytes: int
    tflite_bytes: int | None
    plan_bytes: int
    arena_bytes: int
    macs: int


class Parity(Comparison):
    """The file."""

    plan: Distance
    float_and_int8: dict[Population, FloatAndInt8] = {}
    sizes: Sizes
