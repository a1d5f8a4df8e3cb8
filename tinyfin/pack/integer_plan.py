# SPDX-License-Identifier: Apache-2.0
"""Lays tables and trees out as a plan of one node; docs/formats/plan.md has the bytes."""

from __future__ import annotations

import struct
from typing import Required, TypedDict

import numpy as np

from tinyfin.formats import (
    KERNELS,
    OPCODES,
    PLAN_FORMAT,
    PLAN_HEADER,
    PLAN_MAGIC,
    PlanHeader,
    round_up,
)
from tinyfin.pack.integer_model import DensityTables, Forest, IntegerModel

__all__ = ["compile_integer_plan", "describe_integer_node"]

_NODE = struct.Struct("<BBHIIHHIB3x")


def compile_integer_plan(model: IntegerModel) -> bytes:
    """The plan; its length is a multiple of 16. The same model gives the same bytes."""
    if isinstance(model, DensityTables):
        opcode, outputs, option = OPCODES["DENSITY"], model.inputs, 8 - model.bits
        constants = model.tables.tobytes()
    else:
        opcode, outputs, option = OPCODES["FOREST"], len(model.leaf), model.depth
        constants = _trees(model)
    # input, terms and their sum, one after the other
    terms = round_up(round_up(model.inputs, 4), 8)
    total = round_up(terms + outputs, 16)
    arena = total + 16
    node = _NODE.pack(
        opcode,
        0,
        _NODE.size,
        0,
        terms,
        model.inputs,
        outputs,
        PLAN_HEADER.size + _NODE.size,
        option,
    )
    body = node + constants
    size = round_up(PLAN_HEADER.size + len(body), 16)
    header = PlanHeader(
        magic=PLAN_MAGIC,
        version=PLAN_FORMAT,
        layout=0,
        plan_bytes=size,
        kernels=KERNELS[opcode][1],
        arena_bytes=arena,
        nodes=1,
        input_at=0,
        input_length=model.inputs,
        output_at=terms,
        output_length=outputs,
        accumulators_at=total,
        accumulators=1,
    )
    return header.encode() + body.ljust(size - PLAN_HEADER.size, b"\0")


def _trees(model: Forest) -> bytes:
    parts = []
    for feature, threshold, leaf in zip(model.feature, model.threshold, model.leaf, strict=True):
        splits = np.stack([feature, threshold.view(np.uint8)], axis=1)
        parts.append(bytes(2) + splits.tobytes() + leaf.tobytes())
    return b"".join(parts)


class OperatorFacts(TypedDict, total=False):
    """An operator of a plan: the first five of each, and what is its own."""

    name: Required[str]
    inputs: Required[int]
    outputs: Required[int]
    macs: Required[int]
    weight_bytes: Required[int]
    per_channel: bool
    narrow: bool
    activation: list[int]
    depth: int
    table_entries: int
    at: int
    count: int
    second_inputs: int
    constant: bool
    entries: int
    table_bytes: int


def describe_integer_node(plan: bytes, position: int, code: int) -> OperatorFacts:
    """A record of one of these opcodes."""
    _, _, _, _, _, inputs, outputs, _, option = _NODE.unpack_from(plan, position)
    about: OperatorFacts = {
        "name": "FOREST",
        "inputs": inputs,
        "outputs": outputs,
        "macs": 0,
        "weight_bytes": 0,
    }
    if code == OPCODES["DENSITY"]:
        entries = 256 >> option
        about |= {"name": "DENSITY", "entries": entries, "table_bytes": inputs * entries}
    else:
        about |= {"depth": option, "table_bytes": outputs * 3 << option}
    return about
