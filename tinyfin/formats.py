# SPDX-License-Identifier: Apache-2.0
"""The binary formats of a pack: every number of the headers once. docs/formats is the norm.

Standard library only, because the scripts of PlatformIO import it. A test holds the C headers to
these numbers (tests/project/test_formats.py). The oracle has numbers of its own, on purpose: it is
written from docs/formats alone.
"""

from __future__ import annotations

import re
import struct
from typing import NamedTuple

from tinyfin.errors import PackError

__all__ = [
    "ALIGN",
    "CRITICAL_TAGS",
    "DECISION_ENTRY",
    "DECISION_HEAD",
    "DEVELOPMENT_KEY_HEX",
    "ENGINE_COUNTERS",
    "FIELD_ENTRY",
    "FIELD_TYPES",
    "IMAGE_HEAD_BYTES",
    "KERNELS",
    "KERNEL_NAMES",
    "LAYOUTS",
    "LINE_COUNTERS",
    "MORE_THRESHOLD",
    "OPCODES",
    "OPERATOR",
    "PACK_FORMAT",
    "PACK_HEADER",
    "PACK_MAGIC",
    "PLAN_FORMAT",
    "PLAN_HEADER",
    "PLAN_MAGIC",
    "PROBATION_HEAD",
    "PROBATION_LOOK",
    "PROBATION_PHASES",
    "PROBATION_RESULTS",
    "PROGRAM_HEADER",
    "SCHEMA_HEAD",
    "SECTION_HEAD",
    "SIGNED_BYTES",
    "STATE_HEAD_BYTES",
    "PackHeader",
    "PlanHeader",
    "ProgramHeader",
    "kernel_names",
    "offsets",
    "round_up",
    "sections_of",
]

ALIGN = 16
"""Sections, plans and the parts of an engine's memory are padded to this many bytes."""


def round_up(size: int, to: int = ALIGN) -> int:
    """The next multiple of ``to``."""
    return -(-size // to) * to


def offsets(layout: struct.Struct) -> tuple[int, ...]:
    """Byte offset of each value of a little-endian layout, padding left out."""
    found, end = [], 0
    for count, kind in re.findall(r"(\d*)([a-zA-Z?])", layout.format):
        if kind == "s":
            found.append(end)
            end += int(count or 1)
            continue
        for _ in range(int(count or 1)):
            if kind != "x":
                found.append(end)
            end += struct.calcsize("<" + kind)
    return tuple(found)


# ---- pack

PACK_MAGIC = 0x4B504654
"""``TFPK``."""
PACK_FORMAT = 1
PACK_HEADER = struct.Struct("<IHHIIIIBBHIII16s16s16s16s24s32s64s")
SIGNED_BYTES = 160
"""Of the header: what the signature, which follows, is made of."""
MAX_PACK_BYTES = 1 << 26
DEVELOPMENT = 1
"""The header's flag of packs that are signed by the public development key."""
DEVELOPMENT_KEY_HEX = "d616f324c9ad4d62e34167c396a67fc10f9fd7af51e0068b1d6638736b8a9f8d"
"""The public half of that key."""

ENGINE_COUNTERS = (
    "scored",
    "committed",
    "clock_clamps",
    "saturations",
    "pending_overflows",
    "unknown_outcomes",
    "notices",
    "notice_duplicates",
    "label_overflows",
    "evictions",
)
"""Of ``tfin_stats``, in their order."""
LINE_COUNTERS = (
    "frames_damaged",
    "frames_overlong",
    "frames_repeated",
    "frames_out_of_order",
    "receive_overruns",
)
"""What goes wrong on the line, as STATS and reports have it."""


PROBATION_PHASES = ("none", "shadow", "trial")
PROBATION_RESULTS = (
    "none",
    "goes on",
    "passed",
    "far",
    "differs",
    "stability",
    "alerts",
    "saturated",
)
"""``enum tfin_probation_result``, by number."""


class PackHeader(NamedTuple):
    """The header of a pack, field by field in the order of the format."""

    magic: int
    version: int
    header_bytes: int
    total_bytes: int
    engine: int
    """The oldest engine that runs the pack: major << 16 | minor << 8 | patch."""
    security_counter: int
    flags: int
    signature_algorithm: int
    hash_algorithm: int
    sections: int
    key_id: int
    kernels: int
    """Mask of the kernels that the network needs; 0 without a network."""
    layout: int
    """Index into :data:`LAYOUTS`."""
    schema_hash: bytes
    program_hash: bytes
    state_layout: bytes
    model_id: bytes
    reserved: bytes
    digest: bytes
    """Hash of everything after the header."""
    signature: bytes

    @classmethod
    def read(cls, pack: bytes) -> PackHeader:
        """That of ``pack``, which has at least the bytes of one."""
        return cls._make(PACK_HEADER.unpack_from(pack))

    def encode(self) -> bytes:
        """The header as it is in a pack."""
        return PACK_HEADER.pack(*self)


SECTION_HEAD = struct.Struct("<4sIHHI")
"""Tag, bytes of the payload, flags (1 is critical), version, 0."""
MAX_SECTIONS = 32
CRITICAL_TAGS = ("SCHM", "PROG", "MAPS", "PLAN", "READ", "CALI", "DECI", "GOLD")


def sections_of(pack: bytes) -> dict[str, bytes]:
    """Payload of each section by tag, of a pack that is trusted; for any other
    :func:`tinyfin.pack.sections.split_sections` checks the rules. Raises PackError where a section
    passes the end."""
    found = {}
    at = PACK_HEADER.size
    while at + SECTION_HEAD.size <= len(pack):
        tag, size, *_ = SECTION_HEAD.unpack_from(pack, at)
        at += SECTION_HEAD.size
        if at + size > len(pack):
            raise PackError(f"section {tag!r} ends after the pack; copy the pack again")
        found[tag.decode("ascii", "replace")] = pack[at : at + size]
        at += round_up(size)
    return found


# ---- schema (SCHM)

SCHEMA_HEAD = struct.Struct("<HHI")
"""Fields, bytes of the record, 0."""
FIELD_ENTRY = struct.Struct("<BBHIq")
"""Type, flags (1 stays in RAM, 2 comes from the host), offset in the record, number of an enum's
values, value of an absent field."""
FIELD_TYPES = ("i32", "i64", "u64", "enum")
"""A type's code is its index."""

# ---- feature program (PROG)

PROGRAM_HEADER = struct.Struct("<8HI2H2B3H8I")
OPERATOR = struct.Struct("<8BIiiHH")
"""Code, key, out, a, b, c, when, flags, offset of its state, p0 to p3."""
NO_FIELD = 255
STATE_HEAD_BYTES = 64
IMAGE_HEAD_BYTES = 64


class ProgramHeader(NamedTuple):
    """The header of a feature program, field by field in the order of the format."""

    format: int
    registers: int
    score_operators: int
    outcome_operators: int
    kept: int
    features: int
    pending: int
    pending_entry_bytes: int
    terminal_state_bytes: int
    card_slot_bytes: int
    card_sets: int
    card_ways: int
    token_field: int
    terminal_labels: int
    card_labels: int
    zero: int
    score_at: int
    outcome_at: int
    kept_at: int
    features_at: int
    pool_at: int
    pool_bytes: int
    clock_step_s: int
    """0: the usual one, 400 days."""
    clock_step_in_boot_s: int
    """0: the usual one, 14 days."""

    @classmethod
    def read(cls, program: bytes) -> ProgramHeader:
        """That of a PROG payload. Raises PackError when it is cut off."""
        if len(program) < PROGRAM_HEADER.size:
            raise PackError("PROG: offset 0: the payload is shorter than its header of 64 bytes")
        return cls._make(PROGRAM_HEADER.unpack_from(program))

    @property
    def card_ring_bytes(self) -> int:
        """The label ring at the end of a card slot."""
        return 8 + 8 * self.card_labels if self.card_labels else 0

    @property
    def card_state_bytes(self) -> int:
        """Operator state inside a card slot."""
        return self.card_slot_bytes - 16 - self.card_ring_bytes if self.card_slot_bytes else 0

    @property
    def state_bytes(self) -> int:
        """The state body."""
        ring = 8 + 8 * self.terminal_labels if self.terminal_labels else 0
        return (
            STATE_HEAD_BYTES
            + self.pending * self.pending_entry_bytes
            + self.terminal_state_bytes
            + ring
            + self.card_sets * self.card_ways * self.card_slot_bytes
        )

    def scratch_bytes(self, arena_bytes: int = 0) -> int:
        """Memory that holds nothing between two calls; registers and arena share it."""
        return (
            round_up(2 * self.features)
            + round_up(self.pending_entry_bytes)
            + max(round_up(8 * self.registers), arena_bytes)
        )

    def memory_bytes(self, arena_bytes: int = 0) -> int:
        """State and scratch together; ``arena_bytes`` is the plan's."""
        return round_up(self.state_bytes) + self.scratch_bytes(arena_bytes)


# ---- plan (PLAN)

PLAN_MAGIC = 0x4E504654
"""``TFPN``."""
PLAN_FORMAT = 1
PLAN_HEADER = struct.Struct("<IHH10I16x")
KERNEL_NAMES = (
    "FULLY_CONNECTED",
    "TABLE",
    "SOFTMAX",
    "ADD",
    "MUL",
    "SQUARED_DIFFERENCE",
    "REDUCE",
    "COPY",
    "DENSITY",
    "FOREST",
)
"""By the bit of a kernel mask."""
OPCODES = {name: bit + 1 for bit, name in enumerate(KERNEL_NAMES)}
KERNELS = {code: (name, 1 << code - 1) for name, code in OPCODES.items()}
"""Name and bit of the kernel that runs an opcode."""
LAYOUTS = ("canonical", "rows", "columns")
"""Orders of the weights; a layout's id is its index."""


class PlanHeader(NamedTuple):
    """The header of a plan, field by field in the order of the format; places are in the arena."""

    magic: int
    version: int
    layout: int
    plan_bytes: int
    kernels: int
    arena_bytes: int
    nodes: int
    input_at: int
    input_length: int
    output_at: int
    output_length: int
    accumulators_at: int
    accumulators: int

    @classmethod
    def read(cls, plan: bytes) -> PlanHeader:
        """That of ``plan``, which has at least the bytes of one."""
        return cls._make(PLAN_HEADER.unpack_from(plan))

    def encode(self) -> bytes:
        """The header as it is in a plan."""
        return PLAN_HEADER.pack(*self)


def kernel_names(mask: int) -> list[str]:
    """Names of a mask's kernels; a bit that this version does not know as ``kernel 2^n``."""
    return [
        KERNEL_NAMES[bit] if bit < len(KERNEL_NAMES) else f"kernel 2^{bit}"
        for bit in range(32)
        if mask >> bit & 1
    ]


# ---- decision (DECI)

DECISION_HEAD = struct.Struct("<IIHHIIHH")
"""Thresholds go_online and decline (Q32), flags, control share (Q16), events and seconds until
warm, features, thresholds behind their entries."""
DECISION_ENTRY = struct.Struct("<HbB")
"""Of each feature: reason above the reference, reference, reason below it."""
REASON_AS_ABOVE, NO_REASON_BELOW = 0, 255
MORE_THRESHOLD = struct.Struct("<I")
"""Of each threshold behind the entries: that of VERIFY (Q32) is the first."""

# ---- probation (PROB)

PROBATION_HEAD = struct.Struct("<16s3I3IBBHHHHHI")
"""Model id of the parent, cuts of the parent and its own, looks, flags, alerts more, events of the
trial, its alerts and saturated verdicts at most, factor of alerts (Q8), 0."""
PROBATION_LOOK = struct.Struct("<HHHH")
"""Of each look: events, far, differ, stability index (Q10)."""
