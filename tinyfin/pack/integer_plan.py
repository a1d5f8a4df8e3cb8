# SPDX-License-Identifier: Apache-2.0
"""Lays tables and trees out as a plan of one node; docs/formats/plan.md has the bytes."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

from tinyfin.pack.integer_model import DensityTables, Forest, IntegerModel

__all__ = ["OPCODES", "compile_integer_plan", "describe_integer_node"]

OPCODES = {"DENSITY": 9, "FOREST": 10}
_HEADER = struct.Struct("<IHH10I16x")
_NODE = struct.Struct("<BBHIIHHIB3x")
_HEADER_BYTES = 64


def compile_integer_plan(model: IntegerModel) -> bytes:
    """The plan; its length is a multiple of 16. The same model gives the same bytes."""
    from tinyfin.pack.plan import FORMAT, KERNELS, MAGIC

    if isinstance(model, DensityTables):
        opcode, outputs, option = OPCODES["DENSITY"], model.inputs, 8 - model.bits
        constants = model.tables.tobytes()
    else:
        opcode, outputs, option = OPCODES["FOREST"], len(model.leaf), model.depth
        constants = _trees(model)
    # input, terms and their sum, one after the other
    terms = _up(_up(model.inputs, 4), 8)
    total = _up(terms + outputs, 16)
    arena = total + 16
    node = _NODE.pack(
        opcode, 0, _NODE.size, 0, terms, model.inputs, outputs, _HEADER_BYTES + _NODE.size, option
    )
    body = node + constants
    size = _up(_HEADER_BYTES + len(body), 16)
    header = _HEADER.pack(
        MAGIC,
        FORMAT,
        0,
        size,
        KERNELS[opcode][1],
        arena,
        1,
        0,
        model.inputs,
        terms,
        outputs,
        total,
        1,
    )
    return header + body.ljust(size - _HEADER_BYTES, b"\0")


def _trees(model: Forest) -> bytes:
    parts = []
    for feature, threshold, leaf in zip(model.feature, model.threshold, model.leaf, strict=True):
        splits = np.stack([feature, threshold.view(np.uint8)], axis=1)
        parts.append(bytes(2) + splits.tobytes() + leaf.tobytes())
    return b"".join(parts)


def describe_integer_node(plan: bytes, position: int, code: int) -> dict[str, Any]:
    """A record of one of these opcodes as a dict: name, inputs, outputs and what is its own."""
    _, _, _, _, _, inputs, outputs, _, option = _NODE.unpack_from(plan, position)
    about: dict[str, Any] = {"inputs": inputs, "outputs": outputs, "macs": 0, "weight_bytes": 0}
    if code == OPCODES["DENSITY"]:
        return about | {
            "name": "DENSITY",
            "entries": 256 >> option,
            "table_bytes": inputs * (256 >> option),
        }
    return about | {"name": "FOREST", "depth": option, "table_bytes": outputs * 3 << option}


def _up(n: int, to: int) -> int:
    return -(-n // to) * to
