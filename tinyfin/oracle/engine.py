# SPDX-License-Identifier: Apache-2.0
"""The oracle: scoring, outcomes, notices and the state image, as docs/formats says."""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

from tinyfin.oracle import state as st
from tinyfin.oracle.decision import Model
from tinyfin.oracle.known import learn, make_tag
from tinyfin.oracle.numbers import U32_MAX, fold64, pattern64, saturate_register, saturate_signed
from tinyfin.oracle.program import NONE, OracleOperator, read_program, read_schema, schema_payload
from tinyfin.oracle.pure import Event, Outcome, evaluate
from tinyfin.oracle.rings import forget_value
from tinyfin.oracle.stateful import Inputs, Label, State
from tinyfin.schema import Schema

__all__ = ["ARGUMENT", "OK", "TIME", "UNKNOWN_ID", "OracleEngine", "OracleVerdict"]

OK = 0
ARGUMENT = -1
UNKNOWN_ID = -24
TIME = -33

LAST_SECOND = 2**32 - 2
"""The clock stops here, so that t + 1 is a u32."""

COLD = 1
SATURATED = 2
CLOCK = 4
NO_HOST = 8
SHADOW = 16
CONTROL = 32
VERIFY = 64

_STATE_MAGIC = 0x54534654
_STATS = st.COUNTERS[2:12]
"""What tfin_stats reports: the counters between the times and the ticks."""


@dataclass(frozen=True)
class OracleVerdict:
    """The answer to a score."""

    id: int
    score_q32: int
    raw: int
    action: int
    reasons: tuple[int, ...]
    flags: int


class OracleEngine:
    """One terminal's engine, slow and obvious.

    ``program`` is the payload of PROG, ``schema`` that of SCHM or a Schema; ``model`` holds what
    follows the features (None: a pack without a network). ``restarts``: before any step of the
    clock the terminal is taken to have been restarted.
    """

    def __init__(
        self,
        program: bytes,
        schema: bytes | Schema,
        model: Model | None = None,
        *,
        restarts: bool = False,
    ) -> None:
        self.program_payload = program
        self.schema_payload = schema_payload(schema) if isinstance(schema, Schema) else schema
        self.program = read_program(program)
        self.fields = read_schema(self.schema_payload)
        self.model = model
        self.restarts = restarts
        self._booted = True
        """Opened or a state imported, and no time seen since."""
        self._features: tuple[int, ...] = ()
        self.reset()

    @property
    def state_layout_hash(self) -> bytes:
        """16 bytes that bind a state image to program and schema."""
        whole = b"tfst1" + self.schema_payload + self.program_payload
        return hashlib.blake2b(whole, digest_size=32).digest()[:16]

    def reset(self) -> None:
        """Forget all state."""
        self.state = st.fresh(self.program)

    def features(self) -> tuple[int, ...]:
        """The features of the last scored event."""
        return self._features

    def stats(self) -> dict[str, int]:
        """The counters of ``tfin_stats``."""
        return {name: self.state.head[name] for name in _STATS}

    # ------------------------------------------------------------------------------------- calls

    def score(
        self, id: int, t_mono_s: int, t_local_s: int, values: Sequence[int], present: int
    ) -> OracleVerdict:
        """Score an event; ``values`` holds one number per field of the schema."""
        t, stands = self._clock(t_mono_s)
        event = Event(t, t_local_s, values, present)
        token = self._token(event)
        registers = self._score_phase(event, token)

        features = []
        saturated = 0
        for feature in self.program.features:
            value = saturate_signed(registers[feature.register], 2)
            saturated += int(value != registers[feature.register])
            features.append(value)
        self._features = tuple(features)
        self._count("saturations", saturated)
        flags = (SATURATED if saturated else 0) | (CLOCK if stands else 0)
        verdict = self._judge(id, t, features, flags, present)

        self._count("scored")
        if self._find(id) is None:
            self._wait(id, t, token, registers)
        return verdict

    def outcome(self, id: int, t_mono_s: int, result: int, response: int, action_taken: int) -> int:
        """Report what became of a scored event; the engine's error code."""
        if not 0 <= result <= 4 or not 0 <= action_taken <= 2:
            return ARGUMENT
        place = self._find(id)
        if place is None:
            self._count("unknown_outcomes")
            return UNKNOWN_ID
        t, stands = self._clock(t_mono_s)
        if stands and t_mono_s > t:
            return TIME
        entry = self.state.pending[place]
        assert entry is not None
        self._commit(place, Outcome(result, response, action_taken, t - entry.t))
        return OK

    def notice(self, id: int, token: int, t_mono_s: int, t_tx_mono_s: int, fraud: int) -> int:
        """Report what became known of a past transaction; the engine's error code."""
        if fraud not in (0, 1):
            return ARGUMENT
        t, stands = self._clock(t_mono_s)
        if stands and t_mono_s > t:
            return TIME
        t_tx = min(t_tx_mono_s, t)
        tag = make_tag(id, fraud)
        of_terminal = self.state.states, self.state.labels
        accepted = self._learn(st.TERMINAL, *of_terminal, t_tx, tag)
        card = self._card(pattern64(token))
        if card is not None:
            accepted |= self._learn(st.CARD, card.states, card.labels, t_tx, tag)
        self._count("notices" if accepted else "notice_duplicates")
        return OK

    def _learn(
        self, key: int, states: dict[int, State], labels: list[Label], t: int, tag: int
    ) -> bool:
        program = self.program
        replaces = (t, tag ^ 1) in labels
        capacity = program.terminal_labels if key == st.TERMINAL else program.card_labels
        accepted, over = learn(labels, capacity, t, tag)
        self._count("label_overflows", int(over))
        entered = accepted and (t, tag) in labels
        for i, op in st.stateful(program, key).items() if entered else ():
            if st.FAMILIES[op.code] is st.COMPROMISED:
                st.COMPROMISED.learn(op, states[i], t, tag, replaces)
        return accepted

    def rebase_time(self, t_mono_s: int) -> int:
        """Set the clock; a step back begins with a cold state. The engine's error code."""
        if t_mono_s > LAST_SECOND:
            return ARGUMENT
        if t_mono_s < self.state.head["last_t_mono"]:
            self.reset()
        self.state.head["last_t_mono"] = t_mono_s
        self._booted = False
        return OK

    def erase_card(self, token: int) -> None:
        """Forget one card: its slot becomes free, what waits for an outcome has no card, and
        nothing of the terminal remembers its token."""
        value = pattern64(token) % 2**62
        for entry in self.state.pending:
            if entry is not None and entry.token == pattern64(token):
                entry.token = 0
                for place, kept in enumerate(self.program.kept):
                    if kept.width == 8 and entry.kept[place] == value:
                        entry.kept[place] = 0
        for i, op in enumerate(self.program.score):
            if op.code in st.FAMILIES and op.key == st.TERMINAL:
                forget_value(op, self.state.states[i], value)
        card = self._card(pattern64(token))
        if card is not None:
            ways = self._set(card.token)
            ways[ways.index(card)] = None

    def export_state(self) -> bytes:
        """The state image: header of 64 bytes, then the body."""
        body = st.body(self.program, self.state)
        head = struct.pack("<IHHII", _STATE_MAGIC, 1, 64, len(body), zlib.crc32(body))
        return (head + self.state_layout_hash).ljust(64, b"\0") + body

    def state_digest(self) -> int:
        """CRC-32 over the image's body."""
        return zlib.crc32(st.body(self.program, self.state))

    def import_state(self, image: bytes) -> None:
        """Take an image back. Raises ValueError when it is not one of this program's."""
        magic, fmt, head_size, size, crc = struct.unpack_from("<IHHII", image)
        if (magic, fmt, head_size) != (_STATE_MAGIC, 1, 64):
            raise ValueError("state image: magic or format is unknown")
        if image[16:32] != self.state_layout_hash:
            raise ValueError("state image: it belongs to another feature program")
        body = image[64:]
        if len(body) != size or zlib.crc32(body) != crc:
            raise ValueError("state image: its checksum differs")
        self.state = st.from_body(self.program, body)
        self._booted = True

    # ----------------------------------------------------------------------------------- scoring

    def _clock(self, t_mono_s: int) -> tuple[int, bool]:
        """The time of a call, and whether the clock stops because it may not go there."""
        program, last = self.program, self.state.head["last_t_mono"]
        first = self._booted or self.restarts
        step_s = program.clock_step_s if first else program.clock_step_in_boot_s
        too_far = t_mono_s > LAST_SECOND or (last > 0 and t_mono_s - last > step_s)
        if too_far or t_mono_s < last:
            self._count("clock_clamps")
            return last, True
        self.state.head["last_t_mono"] = t_mono_s
        self._booted = False
        return t_mono_s, False

    def _count(self, name: str, more: int = 1) -> None:
        self.state.head[name] = min(self.state.head[name] + more, U32_MAX)

    def _token(self, event: Event) -> int:
        index = self.program.token_field
        if index == NONE or not event.present >> index & 1:
            return 0
        return pattern64(event.values[index])

    def _score_phase(self, event: Event, token: int) -> dict[int, int]:
        # A register made in the outcome phase alone reads as 0 here.
        registers = dict.fromkeys(range(self.program.registers), 0)
        card = self._card(token)
        for i, op in enumerate(self.program.score):
            if op.code in st.FAMILIES:
                family = st.FAMILIES[op.code]
                if op.key == st.TERMINAL:
                    state, labels = self.state.states[i], self.state.labels
                elif card is not None:
                    state, labels = card.states[i], card.labels
                else:
                    state, labels = family.fresh(op), []
                x = _inputs(op, registers, event.t)
                x = Inputs(x.t, x.a, x.b, x.c, labels, card is not None)
                value = family.read(op, state, x)
            else:
                value = evaluate(op, self.program, self.fields, registers, event)
            registers[op.out] = saturate_register(value)
        return registers

    def _judge(
        self, id: int, t: int, features: Sequence[int], flags: int, present: int
    ) -> OracleVerdict:
        if self.model is None:
            return OracleVerdict(id, 0, 0, 0, (), flags)
        decision = self.model.decision
        head = self.state.head
        young = head["committed"] == 0 or t - head["first_commit_t"] < decision.cold_s
        if head["committed"] < decision.cold_events and young:
            flags |= COLD
        told = [i for i, field in enumerate(self.fields) if field.host and present >> i & 1]
        if decision.wants_host and not told:
            flags |= NO_HOST
        if decision.shadow:
            flags |= SHADOW
        if decision.is_control(id):
            flags |= CONTROL
        answer = self.model.answer(features)
        if answer.verify:
            flags |= VERIFY
        return OracleVerdict(id, answer.score_q32, answer.raw, answer.action, answer.reasons, flags)

    # ----------------------------------------------------------------------- pending and commits

    def _find(self, id: int) -> int | None:
        for place, entry in enumerate(self.state.pending):
            if entry is not None and entry.id == id:
                return place
        return None

    def _wait(self, id: int, t: int, token: int, registers: dict[int, int]) -> None:
        pending = self.state.pending
        if None not in pending:
            sequences = [entry.sequence for entry in pending if entry is not None]
            oldest = sequences.index(min(sequences))
            self._count("pending_overflows")
            self._commit(oldest, Outcome(result=3, response=-1, action_taken=0, seconds=0))
        kept = [saturate_signed(registers[kept.register], kept.width) for kept in self.program.kept]
        for place, value in zip(self.program.kept, kept, strict=True):
            self._count("saturations", int(value != registers[place.register]))
        self.state.head["pending_sequence"] += 1
        sequence = self.state.head["pending_sequence"]
        pending[pending.index(None)] = st.Pending(id, sequence, t, token, kept)

    def _commit(self, place: int, outcome: Outcome) -> None:
        entry = self.state.pending[place]
        assert entry is not None
        registers = {
            kept.register: value for kept, value in zip(self.program.kept, entry.kept, strict=True)
        }
        for op in self.program.outcome:
            value = evaluate(op, self.program, self.fields, registers, outcome)
            registers[op.out] = saturate_register(value)
        card = self._take_slot(entry.token)
        for i, op in enumerate(self.program.score):
            if op.code not in st.FAMILIES or not op.when >> outcome.result & 1:
                continue
            if op.key == st.TERMINAL:
                state = self.state.states[i]
            elif card is not None:
                state = card.states[i]
            else:
                continue
            if op.code not in _NEVER_COMMITTED:
                x = replace(_inputs(op, registers, entry.t), id=entry.id)
                self._count("saturations", st.FAMILIES[op.code].commit(op, state, x))
        self.state.pending[place] = None
        if self.state.head["committed"] == 0:
            self.state.head["first_commit_t"] = entry.t
        self._count("committed")

    # ------------------------------------------------------------------------------------- cards

    def _set(self, token: int) -> list[st.Card | None]:
        return self.state.cards[fold64(token) % self.program.card_sets]

    def _card(self, token: int) -> st.Card | None:
        if token == 0 or self.program.card_sets == 0:
            return None
        for card in self._set(token):
            if card is not None and card.token == token:
                return card
        return None

    def _take_slot(self, token: int) -> st.Card | None:
        if token == 0 or self.program.card_sets == 0:
            return None
        card = self._card(token)
        if card is None:
            card = st.Card(token, 0, st.fresh_states(self.program, st.CARD))
            ways = self._set(token)
            if None in ways:
                ways[ways.index(None)] = card
            else:
                ages = [way.used for way in ways if way is not None]
                ways[ages.index(min(ages))] = card
                self._count("evictions")
        self.state.head["card_tick"] += 1
        card.used = self.state.head["card_tick"]
        return card


_NEVER_COMMITTED = frozenset({52, 53})


def _inputs(op: OracleOperator, registers: dict[int, int], t: int) -> Inputs:
    return Inputs(
        t=t,
        a=None if op.a == NONE else registers[op.a],
        b=None if op.b == NONE else registers[op.b],
        c=op.c == NONE or registers[op.c] != 0,
    )
