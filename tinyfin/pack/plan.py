# SPDX-License-Identifier: Apache-2.0
"""Compiles an int8 network into a plan: everything that can be decided before the device is.

``docs/formats/plan.md`` has the byte layout. The same model gives the same bytes on any machine.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from tinyfin.errors import ModelError, PackError
from tinyfin.formats import (
    KERNELS,
    LAYOUTS,
    OPCODES,
    PLAN_FORMAT,
    PLAN_HEADER,
    PLAN_MAGIC,
    PlanHeader,
    kernel_names,
)
from tinyfin.pack import lowering, plan_nodes
from tinyfin.pack.integer_plan import OperatorFacts
from tinyfin.pack.lowering import FullyConnected, Node, Table
from tinyfin.tflite.model import TfliteModel

__all__ = ["FULLY_CONNECTED", "TABLE", "compile_plan", "describe", "layout_of", "repack"]

FULLY_CONNECTED = struct.Struct("<BBHIIHHIIibbbxI")
TABLE = struct.Struct("<BBHIIHHI")

#: of rows that only fill a group
_NO_MULTIPLIER = (1 << 31, 0)

FC_PER_CHANNEL, FC_NARROW, FC_ACCUMULATORS = 1, 2, 4


@dataclass
class _Buffer:
    """A range of the arena, needed from node ``first`` to node ``last``."""

    size: int
    first: int
    last: int
    offset: int = 0


def _round_up(n: int, to: int) -> int:
    return (n + to - 1) // to * to


def _place(buffers: Sequence[_Buffer]) -> int:
    """Gives every buffer its offset: big ones first, each at the lowest place that is free for its
    whole life. Returns the arena's size."""
    placed: list[_Buffer] = []
    order = sorted(range(len(buffers)), key=lambda i: (-buffers[i].size, buffers[i].first, i))
    for i in order:
        b = buffers[i]
        at = 0
        for other in sorted(placed, key=lambda o: o.offset):
            if other.first <= b.last and b.first <= other.last and at + b.size > other.offset:
                at = max(at, other.offset + other.size)
        b.offset = at
        placed.append(b)
    return _round_up(max(b.offset + b.size for b in buffers), 16)


def pack_rows(
    weights: NDArray[np.int8], bias: Sequence[int], multipliers: Sequence[tuple[int, int]] | None
) -> bytes:
    """Weights int8[N, K], biases and (per-channel) multipliers as the kernels read them.

    Rows and columns are padded to multiples of 4 with zero weights. Each group of four rows comes
    interleaved, four columns (one word) of each row in turn, then the group's biases, then its
    multipliers. Bytes of even columns hold weight + 128 (unsigned), those of odd columns the weight
    itself: see plan.md.
    """
    n, k = weights.shape
    rows = _round_up(n, 4)
    padded = np.zeros((rows, _round_up(k, 4)), np.int8)
    padded[:n, :k] = weights
    codes = padded.view(np.uint8).copy()
    codes[:, 0::2] ^= 0x80
    words = codes.reshape(rows, -1, 4)
    biases = [*bias, 0, 0, 0]
    scales = [*multipliers, *[_NO_MULTIPLIER] * 3] if multipliers is not None else []
    stream = bytearray()
    for row in range(0, rows, 4):
        stream += words[row : row + 4].transpose(1, 0, 2).tobytes()
        stream += struct.pack("<4i", *biases[row : row + 4])
        for scale in scales[row : row + 4]:
            stream += struct.pack("<Ii", *scale)
    return bytes(stream)


def _folded_bias(node: FullyConnected) -> list[int]:
    """bias - zero_point * sum(w) + 127 * sum(w of odd columns), exact."""
    w = node.weights.astype(np.int64)
    folded = node.bias - node.input_zero_point * w.sum(axis=1) + 127 * w[:, 1::2].sum(axis=1)
    return [int(v) for v in folded]


def _is_narrow(node: FullyConnected, bias: Sequence[int]) -> bool:
    """True when the promise of FC_NARROW holds: for every int8 input, each row's sum fits 24 bits
    signed, the accumulator stays within 2^30, and every multiplier shifts right."""
    w = node.weights.astype(np.int64)
    even, odd = w[:, 0::2], w[:, 1::2]
    high = np.maximum(even * 127, even * -128).sum(axis=1) + np.maximum(odd * -255, 0).sum(axis=1)
    low = np.minimum(even * 127, even * -128).sum(axis=1) + np.minimum(odd * -255, 0).sum(axis=1)
    limit = 1 << 23
    return all(
        -limit <= lo and hi < limit and lo + b >= -(1 << 30) and hi + b <= 1 << 30
        for lo, hi, b in zip(low.tolist(), high.tolist(), bias, strict=True)
    ) and all(0 <= s <= 30 for _, s in node.multipliers)


class _Writer:
    """Constants after the node list, each aligned to 8."""

    def __init__(self, base: int) -> None:
        self.base = base
        self.data = bytearray()

    def add(self, blob: bytes) -> int:
        self.data += bytes(-(self.base + len(self.data)) % 8)
        offset = self.base + len(self.data)
        self.data += blob
        return offset


def _opcode(node: Node) -> int:
    if isinstance(node, FullyConnected):
        return 1
    return 2 if isinstance(node, Table) else plan_nodes.opcode(node)


def _record_size(node: Node) -> int:
    if isinstance(node, FullyConnected):
        return FULLY_CONNECTED.size
    return TABLE.size if isinstance(node, Table) else plan_nodes.record_size(node)


def _lives(
    nodes: Sequence[Node], source: int, target: int, input_length: int
) -> tuple[dict[int, _Buffer], dict[int, int]]:
    """A buffer for every tensor, or the tensor whose buffer it takes over.

    The input lives from before the first node to after the last. A node that works element by
    element may overwrite an operand that is not needed any more.
    """
    end = len(nodes)
    lives = {source: _Buffer(_round_up(input_length, 8), -1, end)}
    for i, node in enumerate(nodes):
        for tensor in node.inputs:
            lives[tensor].last = max(lives[tensor].last, i)
        made = lives.setdefault(node.output, _Buffer(_round_up(node.output_length, 8), i, i))
        made.last = max(made.last, i)
    lives[target].last = end
    shared: dict[int, int] = {}
    for i, node in enumerate(nodes):
        for tensor in node.reusable:
            root = shared.get(tensor, tensor)
            if lives[root].last == i:
                lives[root].last = lives.pop(node.output).last
                shared[node.output] = root
                break
    return lives, shared


def compile_plan(model: TfliteModel, *, accumulators: bool = False) -> bytes:
    """The plan of a model, in the canonical layout; its length is a multiple of 16.

    ``accumulators``: keep the int32 accumulators of the last FULLY_CONNECTED (for read-outs).
    Raises ModelError for what a plan cannot hold.
    """
    nodes = lowering.lower(model)
    last_fc = max((i for i, n in enumerate(nodes) if isinstance(n, FullyConnected)), default=-1)
    if accumulators and last_fc < 0:
        raise ModelError(
            f"{model.source}: accumulators asked for, but the model has no FULLY_CONNECTED; "
            "use another read-out"
        )
    end = len(nodes)
    source, target = model.input, lowering.output_of(model, nodes)
    lives, shared = _lives(nodes, source, target, model.input_tensor.size)
    scratch = {
        i: _Buffer(_round_up(2 * _round_up(n.input_length, 4), 8), i, i)
        for i, n in enumerate(nodes)
        if isinstance(n, FullyConnected)
    }
    kept = (
        _Buffer(_round_up(4 * nodes[last_fc].output_length, 16), last_fc, end)
        if accumulators
        else None
    )
    arena = _place([*lives.values(), *scratch.values(), *([kept] if kept else [])])

    def at(tensor: int) -> int:
        return lives[shared.get(tensor, tensor)].offset

    writer = _Writer(PLAN_HEADER.size + sum(_record_size(n) for n in nodes))
    records = bytearray()
    for i, node in enumerate(nodes):
        if isinstance(node, Table):
            offset = writer.add(node.table.tobytes())
            records += TABLE.pack(
                OPCODES["TABLE"],
                0,
                TABLE.size,
                at(node.input),
                at(node.output),
                *[node.input_length] * 2,
                offset,
            )
        elif isinstance(node, FullyConnected):
            keep = kept is not None and i == last_fc
            places = at(node.input), at(node.output), scratch[i].offset
            records += _fully_connected(node, writer, *places, keep)
        else:
            records += plan_nodes.record(node, at, writer.add)
    body = bytes(records) + bytes(writer.data)
    size = _round_up(PLAN_HEADER.size + len(body), 16)
    mask = 0
    for node in nodes:
        mask |= KERNELS[_opcode(node)][1]
    header = PlanHeader(
        magic=PLAN_MAGIC,
        version=PLAN_FORMAT,
        layout=0,
        plan_bytes=size,
        kernels=mask,
        arena_bytes=arena,
        nodes=len(nodes),
        input_at=at(source),
        input_length=model.input_tensor.size,
        output_at=at(target),
        output_length=model.output_tensor.size,
        accumulators_at=kept.offset if kept else 0,
        accumulators=nodes[last_fc].output_length if kept else 0,
    )
    return header.encode() + body.ljust(size - PLAN_HEADER.size, b"\0")


def _fully_connected(
    node: FullyConnected, writer: _Writer, source: int, target: int, scratch: int, keep: bool
) -> bytes:
    bias = _folded_bias(node)
    flags = FC_NARROW if _is_narrow(node, bias) else 0
    flags |= FC_ACCUMULATORS if keep else 0
    low = [((b + (1 << 31)) & 0xFFFFFFFF) - (1 << 31) for b in bias]
    per_channel = len(set(node.multipliers)) > 1
    if per_channel:
        flags |= FC_PER_CHANNEL
    q32, shift1 = (0, 0) if per_channel else node.multipliers[0]
    weights = writer.add(pack_rows(node.weights, low, node.multipliers if per_channel else None))
    return FULLY_CONNECTED.pack(
        OPCODES["FULLY_CONNECTED"],
        flags,
        FULLY_CONNECTED.size,
        source,
        target,
        node.input_length,
        node.output_length,
        weights,
        q32,
        shift1,
        node.output_zero_point,
        node.activation_min,
        node.activation_max,
        scratch,
    )


def layout_of(plan: bytes) -> str:
    """The name of a plan's layout. Raises PackError when it is none that this tinyfin knows."""
    number = PlanHeader.read(plan).layout
    if number >= len(LAYOUTS):
        raise PackError(f"plan of layout {number}: this tinyfin knows {', '.join(LAYOUTS)}")
    return LAYOUTS[number]


def repack(plan: bytes, layout: str) -> bytes:
    """The same network with its weights in another layout (a name of LAYOUTS): the same size, arena
    and answers. Nothing is lost: repacking back gives the same bytes.

    Raises PackError when the bytes are not a plan, or the layout has no such name.
    """
    if layout not in LAYOUTS:
        raise PackError(f"layout {layout!r}: there are {', '.join(LAYOUTS)}")
    describe(plan)
    source = layout_of(plan)
    result = bytearray(plan)
    struct.pack_into("<H", result, 6, LAYOUTS.index(layout))
    position = PLAN_HEADER.size
    for _ in range(PlanHeader.read(plan).nodes):
        opcode, flags, record = struct.unpack_from("<BBH", plan, position)
        if opcode == OPCODES["FULLY_CONNECTED"]:
            node = FULLY_CONNECTED.unpack_from(plan, position)
            k, groups, at = _round_up(node[5], 4), _round_up(node[6], 4) // 4, node[7]
            stride = 4 * k + 16 + (32 if flags & FC_PER_CHANNEL else 0)
            if at + stride * groups > len(plan):
                raise PackError(f"plan node at {position}: its constants end outside the plan")
            for group in range(at, at + stride * groups, stride):
                body = np.frombuffer(plan, np.uint8, 4 * k, group)
                bias = np.frombuffer(plan, "<u4", 4, group + 4 * k).astype(np.int64)
                weights, plain = _read_group(body, source)
                codes, extra = _write_group(weights, layout)
                result[group : group + 4 * k] = codes
                moved = (bias - plain + extra) & 0xFFFFFFFF
                result[group + 4 * k : group + 4 * k + 16] = moved.astype("<u4").tobytes()
        position += record
    return bytes(result)


def _extra_bias(weights: NDArray[np.int64], layout: str) -> NDArray[np.int64]:
    """What a layout's bias adds to bias - zero_point * sum(w): int64[4] of int64[4, K]."""
    if layout == "canonical":
        return np.asarray(127 * weights[:, 1::2].sum(axis=1), np.int64)
    return np.asarray((-128 if layout == "columns" else 0) * weights.sum(axis=1), np.int64)


def _read_group(
    body: NDArray[np.uint8], layout: str
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Weights int64[4, K] of a group's bytes, and what its biases hold for this layout."""
    if layout == "rows":
        codes = body.reshape(4, -1)
    elif layout == "columns":
        codes = np.bitwise_xor(body, np.uint8(0x80)).reshape(-1, 4).T.copy()
    else:
        codes = body.reshape(-1, 4, 4).transpose(1, 0, 2).reshape(4, -1).copy()
        codes[:, 0::2] ^= 0x80
    wide = codes.view(np.int8).astype(np.int64)
    return wide, _extra_bias(wide, layout)


def _write_group(weights: NDArray[np.int64], layout: str) -> tuple[bytes, NDArray[np.int64]]:
    """The inverse of _read_group."""
    codes = weights.astype(np.int8).view(np.uint8)
    if layout == "columns":
        codes = np.bitwise_xor(codes.T, np.uint8(0x80))
    elif layout == "canonical":
        codes[:, 0::2] ^= 0x80
        codes = codes.reshape(4, -1, 4).transpose(1, 0, 2)
    return np.ascontiguousarray(codes).tobytes(), _extra_bias(weights, layout)


class PlanFacts(TypedDict):
    """What a plan holds."""

    operators: list[OperatorFacts]
    arena_bytes: int
    macs: int
    weight_bytes: int
    """One per weight, padding apart."""
    plan_bytes: int
    input_length: int
    output_length: int
    kernels: int
    """A mask."""
    kernel_names: list[str]
    layout: int
    accumulators: int


def describe(plan: bytes) -> PlanFacts:
    """What a plan holds. Raises PackError when the bytes are not a plan."""
    if len(plan) < PLAN_HEADER.size or PlanHeader.read(plan).magic != PLAN_MAGIC:
        raise PackError("not a plan: its magic is missing; compile the model again")
    header = PlanHeader.read(plan)
    position = PLAN_HEADER.size
    if header.version != PLAN_FORMAT or header.plan_bytes != len(plan):
        raise PackError(
            f"plan of format {header.version}, {header.plan_bytes} bytes: this tinyfin reads "
            f"format {PLAN_FORMAT}"
        )
    operators: list[OperatorFacts] = []
    for _ in range(header.nodes):
        opcode, op_flags, record = struct.unpack_from("<BBH", plan, position)
        if opcode == OPCODES["FULLY_CONNECTED"]:
            f = FULLY_CONNECTED.unpack_from(plan, position)
            k, n = f[5], f[6]
            operators.append(
                {
                    "name": "FULLY_CONNECTED",
                    "inputs": k,
                    "outputs": n,
                    "macs": k * n,
                    "per_channel": bool(op_flags & FC_PER_CHANNEL),
                    "narrow": bool(op_flags & FC_NARROW),
                    "weight_bytes": k * n,
                    "activation": [f[11], f[12]],
                }
            )
        elif opcode == OPCODES["TABLE"]:
            f = TABLE.unpack_from(plan, position)
            operators.append(
                {"name": "TABLE", "inputs": f[5], "outputs": f[5], "macs": 0, "weight_bytes": 0}
            )
        elif opcode in KERNELS:
            operators.append(plan_nodes.describe_node(plan, position, opcode, op_flags))
        else:
            raise PackError(f"plan node of unknown opcode {opcode}: a newer tinyfin wrote it")
        position += record
    return {
        "operators": operators,
        "arena_bytes": header.arena_bytes,
        "macs": sum(op["macs"] for op in operators),
        "weight_bytes": sum(op["weight_bytes"] for op in operators),
        "plan_bytes": header.plan_bytes,
        "input_length": header.input_length,
        "output_length": header.output_length,
        "kernels": header.kernels,
        "kernel_names": kernel_names(header.kernels),
        "layout": header.layout,
        "accumulators": header.accumulators,
    }
