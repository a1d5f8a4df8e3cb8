# SPDX-License-Identifier: Apache-2.0
"""Node records of the operators other than FULLY_CONNECTED and TABLE: written, and read again."""

from __future__ import annotations

import struct
from collections.abc import Callable

import numpy as np

from tinyfin.formats import KERNELS, OPCODES
from tinyfin.pack import integer_plan
from tinyfin.pack.integer_plan import OperatorFacts
from tinyfin.pack.lowering import Binary, Copy, Reduce, Softmax

__all__ = ["OtherNode", "describe_node", "opcode", "record", "record_size"]

OtherNode = Binary | Reduce | Softmax | Copy

_KERNEL_OF = {"SUB": "ADD", "SUM": "REDUCE", "MEAN": "REDUCE"}
"""Of operators whose kernel has another name."""

_HEAD = "<BBHIIHHI"
_BINARY = struct.Struct(_HEAD + "Hbxbbbb" + "ii")
_SCALES = struct.Struct("<iiii")
_REDUCE = struct.Struct(_HEAD + "Hbx" + "ii")
_SOFTMAX_NODE = struct.Struct(_HEAD + "HHI")
_COPY_NODE = struct.Struct("<BBHIIHHHHHH")

CONSTANT, MINUS_SECOND, MINUS_FIRST = 1, 2, 4
MEAN = 1


def opcode(node: OtherNode) -> int:
    """The number that begins its record."""
    if isinstance(node, (Binary, Reduce)):
        return OPCODES[_KERNEL_OF.get(node.name, node.name)]
    return OPCODES["SOFTMAX" if isinstance(node, Softmax) else "COPY"]


def record_size(node: OtherNode) -> int:
    """Bytes of its record."""
    if isinstance(node, Binary):
        return _BINARY.size + (0 if node.name == "MUL" else _SCALES.size)
    if isinstance(node, Reduce):
        return _REDUCE.size
    return _SOFTMAX_NODE.size if isinstance(node, Softmax) else _COPY_NODE.size


def record(node: OtherNode, at: Callable[[int], int], constant: Callable[[bytes], int]) -> bytes:
    """The record. ``at``: a tensor's offset in the arena; ``constant``: stores bytes in the plan
    and gives their offset."""
    size, code = record_size(node), opcode(node)
    source, target = at(node.inputs[0]), at(node.output)
    if isinstance(node, Softmax):
        n = node.output_length
        table = constant(node.exps.astype("<u4").tobytes())
        return _SOFTMAX_NODE.pack(
            *(code, 0, size, source, target, n, n, table), *(node.rows, node.depth, len(node.exps))
        )
    if isinstance(node, Copy):
        n = node.rows * node.length
        return _COPY_NODE.pack(
            *(code, 0, size, source, target, n, node.output_length),
            *(node.rows, node.length, node.stride, node.at),
        )
    if isinstance(node, Reduce):
        n = node.output_length
        start = -node.count * node.input_zero_point & 0xFFFFFFFF
        flags = MEAN if node.name == "MEAN" else 0
        return _REDUCE.pack(
            *(code, flags, size, source, target, node.input_length, n, start, node.count),
            *(node.output_zero_point, *node.scale),
        )
    if isinstance(node.second, np.ndarray):
        flags, second = CONSTANT, constant(node.second.tobytes())
    else:
        flags, second = 0, at(node.second)
    flags |= (MINUS_FIRST if node.signs[0] < 0 else 0) | (MINUS_SECOND if node.signs[1] < 0 else 0)
    n = node.output_length
    packed = _BINARY.pack(
        *(code, flags, size, source, target, node.first_length, n, second, node.second_length),
        *(node.output_zero_point, node.first_zero_point, node.second_zero_point),
        *(node.activation_min, node.activation_max, *node.scale),
    )
    if node.name != "MUL":
        packed += _SCALES.pack(*node.first_scale, *node.second_scale)
    return packed


def describe_node(plan: bytes, position: int, code: int, flags: int) -> OperatorFacts:
    """A record of one of these opcodes."""
    if code in (OPCODES["DENSITY"], OPCODES["FOREST"]):
        return integer_plan.describe_integer_node(plan, position, code)
    k, n = struct.unpack_from("<HH", plan, position + 12)
    about: OperatorFacts = {"name": "", "inputs": k, "outputs": n, "macs": 0, "weight_bytes": 0}
    if code == OPCODES["SOFTMAX"]:
        f = _SOFTMAX_NODE.unpack_from(plan, position)
        about |= {"name": "SOFTMAX", "depth": f[9], "table_entries": f[10]}
    elif code == OPCODES["COPY"]:
        about |= {"name": "COPY", "at": _COPY_NODE.unpack_from(plan, position)[10]}
    elif code == OPCODES["REDUCE"]:
        f = _REDUCE.unpack_from(plan, position)
        about |= {"name": "MEAN" if flags & MEAN else "SUM", "count": f[8]}
    else:
        f = _BINARY.unpack_from(plan, position)
        minus = flags & (MINUS_FIRST | MINUS_SECOND)
        about |= {
            "name": "SUB" if minus else KERNELS[code][0],
            "second_inputs": f[8],
            "constant": bool(flags & CONSTANT),
            "activation": [f[12], f[13]],
        }
    return about
