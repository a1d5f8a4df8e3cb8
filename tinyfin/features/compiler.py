# SPDX-License-Identifier: Apache-2.0
"""Features to a feature program: the PROG payload of docs/formats/program.md.

The same features and schema give the same bytes on every machine.
"""

from __future__ import annotations

import difflib
import struct
from collections.abc import Mapping
from dataclasses import dataclass, replace

from tinyfin.errors import ConfigError
from tinyfin.features.definition import Feature
from tinyfin.features.graph import NONE, Graph, Node
from tinyfin.features.layout import Kept, allot_registers, keep_list, lay_out_pool, lay_out_state
from tinyfin.features.operators import CARD, LABELLED, TERMINAL
from tinyfin.features.selection import Selection, select
from tinyfin.formats import OPERATOR, PROGRAM_HEADER, ProgramHeader
from tinyfin.schema import Schema

__all__ = ["MAX_FEATURES", "Program", "compile_program"]

PROGRAM_FORMAT = 1
STATE_HEAD_BYTES = 64
CLOCK_STEP_S = 400 * 86_400
CLOCK_STEP_IN_BOOT_S = 14 * 86_400
CARD_HEAD_BYTES = 16
MAX_CARD_SLOT_BYTES = 272
MAX_FEATURES = 128
NO_REGISTER = 255
NO_TOKEN = 255
DEFAULT_CARD_LABELS = 4
"""Labels remembered per card when a feature asks for them and no number is configured."""


@dataclass(frozen=True)
class Program:
    """A compiled feature program. Sizes are bytes; the parts of the state add up to state_bytes."""

    payload: bytes
    feature_names: tuple[str, ...]
    feature_ids: tuple[int, ...]
    reason_ids: tuple[int, ...]
    operators: tuple[str, ...]
    """Names of the operators in order: scoring, then outcome."""
    registers: int
    kept: int
    pending: int
    pending_entry_bytes: int
    terminal_state_bytes: int
    terminal_labels: int
    card_sets: int
    card_ways: int
    card_slot_bytes: int
    card_labels: int
    reason_texts: Mapping[int, str]
    """Texts of reason ids that are not the catalogue's."""

    @property
    def pending_bytes(self) -> int:
        """The pending table."""
        return self.pending * self.pending_entry_bytes

    @property
    def label_ring_bytes(self) -> int:
        """The terminal's ring of known labels."""
        return 8 + 8 * self.terminal_labels if self.terminal_labels else 0

    @property
    def card_table_bytes(self) -> int:
        """The card table."""
        return self.card_sets * self.card_ways * self.card_slot_bytes

    @property
    def state_bytes(self) -> int:
        """The body of the state image, which is what the engine holds per terminal."""
        return (
            STATE_HEAD_BYTES
            + self.pending_bytes
            + self.terminal_state_bytes
            + self.label_ring_bytes
            + self.card_table_bytes
        )

    def memory_bytes(self, arena_bytes: int = 0) -> int:
        """What the engine asks for: state and scratch; ``arena_bytes`` is the plan's."""
        return ProgramHeader.read(self.payload).memory_bytes(arena_bytes)


def compile_program(
    features: Selection,
    schema: Schema,
    *,
    pending: int = 8,
    card_sets: int = 16,
    card_ways: int = 4,
    terminal_labels: int = 32,
    card_labels: int = 0,
    clock_step_s: int = CLOCK_STEP_S,
    clock_step_in_boot_s: int = CLOCK_STEP_IN_BOOT_S,
) -> Program:
    """Compile features, in the order given, for events of ``schema``.

    ``features`` is ``"default"``, ``"stream"``, the ``[features]`` section of tinyfin.toml, or a
    sequence of catalogue names and :class:`Feature`. Card table and label rings are only there when
    a feature uses them. ``clock_step_s`` and ``clock_step_in_boot_s``: how far ahead the engine's
    clock may step after opening, and from then on. Raises ConfigError naming the feature and what
    to do.
    """
    chosen = select(features)
    _check_limits(pending, card_sets, card_ways, terminal_labels, card_labels)
    if not 1 <= len(chosen) <= MAX_FEATURES:
        raise ConfigError(f"{len(chosen)} features; a program has 1 to {MAX_FEATURES}; name fewer")
    graph = Graph(schema)
    outputs = [_add(graph, feature, schema) for feature in chosen]

    terminal_ring = _asks_labels(graph, TERMINAL) and terminal_labels
    card_ring = _asks_labels(graph, CARD) and (card_labels or DEFAULT_CARD_LABELS)
    terminal_offsets, terminal_bytes = lay_out_state(graph, TERMINAL)
    card_offsets, card_bytes = lay_out_state(graph, CARD)
    slot = _card_slot_bytes(graph, card_bytes, int(card_ring))
    if not slot:
        card_sets = card_ways = 0
    kept, entry_bytes = keep_list(graph)

    score = [i for i, node in enumerate(graph.nodes) if not node.late]
    late = [i for i, node in enumerate(graph.nodes) if node.late]
    pinned = {k.node for k in kept} | set(outputs) | set(late)
    pinned |= {i for n in late for i in graph.nodes[n].inputs}
    registers = allot_registers(graph, [*score, *late], pinned)
    program = Program(
        payload=b"",
        feature_names=tuple(feature.name for feature in chosen),
        feature_ids=tuple(feature.id for feature in chosen),
        reason_ids=tuple(feature.reason for feature in chosen),
        operators=tuple(graph.nodes[i].operator.name for i in [*score, *late]),
        registers=max(registers.values()) + 1,
        kept=len(kept),
        pending=pending,
        pending_entry_bytes=entry_bytes,
        terminal_state_bytes=terminal_bytes,
        terminal_labels=int(terminal_ring),
        card_sets=card_sets,
        card_ways=card_ways,
        card_slot_bytes=slot,
        card_labels=int(card_ring),
        reason_texts={i: text for feature in chosen for i, text in feature.texts.items()},
    )
    places = _Places(
        registers,
        {**terminal_offsets, **card_offsets},
        _token_index(schema),
        # 0 says the usual one, as programs from before there was a limit do
        clock_step_s if clock_step_s != CLOCK_STEP_S else 0,
        clock_step_in_boot_s if clock_step_in_boot_s != CLOCK_STEP_IN_BOOT_S else 0,
    )
    return replace(program, payload=_payload(program, graph, outputs, kept, places))


@dataclass(frozen=True)
class _Places:
    """Where a program keeps things: register and offset of the state by node; the token's field.
    And what its header says of the clock."""

    registers: Mapping[int, int]
    state: Mapping[int, int]
    token: int
    clock_step_s: int
    clock_step_in_boot_s: int


def _payload(
    program: Program, graph: Graph, outputs: list[int], kept: tuple[Kept, ...], places: _Places
) -> bytes:
    """The bytes of a program, of which ``program`` has all the sizes."""
    score = [i for i, node in enumerate(graph.nodes) if not node.late]
    late = [i for i, node in enumerate(graph.nodes) if node.late]
    pool_offsets, pool = lay_out_pool(graph)
    at_score = PROGRAM_HEADER.size
    at_late = at_score + OPERATOR.size * len(score)
    at_kept = at_late + OPERATOR.size * len(late)
    at_features = _up8(at_kept + 4 * len(kept))
    at_pool = _up8(at_features + 4 * len(outputs))
    body = PROGRAM_HEADER.pack(
        PROGRAM_FORMAT,
        program.registers,
        len(score),
        len(late),
        len(kept),
        len(outputs),
        program.pending,
        program.pending_entry_bytes,
        program.terminal_state_bytes,
        program.card_slot_bytes,
        program.card_sets,
        program.card_ways,
        places.token,
        program.terminal_labels,
        program.card_labels,
        0,
        at_score,
        at_late,
        at_kept,
        at_features,
        at_pool,
        len(pool),
        places.clock_step_s,
        places.clock_step_in_boot_s,
    )
    for number in [*score, *late]:
        body += _encode_operator(
            graph.nodes[number],
            number,
            places.registers,
            places.state.get(number, 0),
            pool_offsets.get(number),
        )
    body += b"".join(_encode_kept(k, places.registers[k.node]) for k in kept)
    body = body.ljust(at_features, b"\0")
    for node, feature_id in zip(outputs, program.feature_ids, strict=True):
        body += struct.pack("<BBH", places.registers[node], 0, feature_id)
    return body.ljust(at_pool, b"\0") + pool


def _card_slot_bytes(graph: Graph, state_bytes: int, labels: int) -> int:
    """Bytes that a card takes; 0 when no feature follows cards."""
    if not any(node.key == CARD for node in graph.nodes):
        return 0
    slot = CARD_HEAD_BYTES + state_bytes + (8 + 8 * labels if labels else 0)
    if slot > MAX_CARD_SLOT_BYTES:
        raise ConfigError(
            f"the card features need {slot} bytes per card; a slot has at most "
            f"{MAX_CARD_SLOT_BYTES}; use fewer card features or card_labels"
        )
    return slot


def _add(graph: Graph, feature: Feature, schema: Schema) -> int:
    lacking = [name for name in feature.fields if name not in schema.names]
    if lacking:
        near = difflib.get_close_matches(lacking[0], schema.names, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else "; leave it out or add the field"
        raise ConfigError(
            f"feature {feature.name!r} needs the field {lacking[0]!r}, which schema "
            f"{schema.name!r} lacks{hint}"
        )
    try:
        number = graph.add(feature.expression)
    except ConfigError as error:
        raise ConfigError(f"feature {feature.name!r}: {error}") from error
    if graph.nodes[number].late:
        raise ConfigError(
            f"feature {feature.name!r} is made of an outcome, which is not known while scoring; "
            "let an operator with state learn it"
        )
    if any(node.key == CARD for node in graph.nodes) and _token_index(schema) == NO_TOKEN:
        raise ConfigError(
            f"feature {feature.name!r} follows cards, but schema {schema.name!r} has no card "
            'token; add a u64 field with unit = "token" or leave the feature out'
        )
    return number


def _up8(size: int) -> int:
    return -(-size // 8) * 8


def _token_index(schema: Schema) -> int:
    for i, field in enumerate(schema.fields):
        if field.type == "u64" and field.unit == "token":
            return i
    return NO_TOKEN


def _asks_labels(graph: Graph, key: int) -> bool:
    return any(node.operator.name in LABELLED and node.key == key for node in graph.nodes)


def _check_limits(pending: int, sets: int, ways: int, terminal: int, card: int) -> None:
    rules = (
        ("pending", pending, 1, 256),
        ("card_sets", sets, 1, 4096),
        ("card_ways", ways, 1, 16),
        ("terminal_labels", terminal, 1, 128),
        ("card_labels", card, 0, 16),
    )
    for name, value, low, high in rules:
        if not low <= value <= high:
            raise ConfigError(f"{name} = {value} must be {low} to {high}")
    if sets & (sets - 1):
        raise ConfigError(f"card_sets = {sets} must be a power of two")


def _encode_operator(
    node: Node,
    number: int,
    registers: Mapping[int, int],
    state_offset: int,
    pool_offset: int | None,
) -> bytes:
    def register(i: int) -> int:
        return NO_REGISTER if i == NONE else registers[i]

    p0, p1, p2, p3 = node.parameters
    if pool_offset is not None:
        p0 = pool_offset
    return OPERATOR.pack(
        node.operator.code,
        node.key,
        registers[number],
        register(node.a),
        register(node.b),
        register(node.c),
        node.when,
        node.flags,
        state_offset,
        p0,
        p1,
        p2,
        p3,
    )


def _encode_kept(kept: Kept, register: int) -> bytes:
    return struct.pack("<BBH", register, kept.width, kept.offset | kept.ram_only << 15)
