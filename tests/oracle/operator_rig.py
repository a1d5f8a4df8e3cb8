# SPDX-License-Identifier: Apache-2.0
"""A small schema, and one operator alone in a program, for the tests of operators."""

from __future__ import annotations

from dataclasses import dataclass

from tests.support.assembler import ALL_RESULTS, CARD, STATEFUL, TERMINAL, Assembler
from tinyfin.oracle import OracleEngine, OracleVerdict
from tinyfin.schema import Field, Schema

SCHEMA = Schema(
    "test",
    (
        Field("small", "i32", -7),
        Field("amount", "i64", 0),
        Field("token", "u64", 0),
        Field("kind", "enum", -1, ("one", "two", "three", "four")),
        Field("flag", "i32", 0),
        Field("gate", "i32", 1),
        Field("secret", "i32", -1, ram_only=True),
    ),
)
SMALL, AMOUNT, TOKEN, KIND, FLAG, GATE, SECRET = range(7)
EVERYTHING = 2 ** len(SCHEMA.fields) - 1

WITH_STATE = [name for name in STATEFUL if name not in ("KNOWN", "SEEN", "COMPROMISED")]
"""What only outcomes change."""


def alone(
    name: str, *, key: int = TERMINAL, when: int = ALL_RESULTS, **parameters: int
) -> Assembler:
    """A program in which ``name`` reads a = amount, b = gate (run operators), c = flag."""
    program = Assembler(token_field=TOKEN, terminal_labels=4)
    if key == CARD:
        program.sets, program.ways, program.card_labels = 2, 2, 3
    amount = program.keep(program.op("FIELD", p2=AMOUNT))
    flag = program.keep(program.op("FIELD", p2=FLAG), 1)
    gate = program.keep(program.op("FIELD", p2=GATE), 1)
    b = gate if name in ("LAST_N", "RUN") else 255
    out = program.op(name, amount, b, flag, key=key, when=when, **parameters)
    program.feature(out)
    return program


@dataclass
class Terminal:
    """An oracle with short calls: time, amount, flag, gate, token in; the first feature out."""

    oracle: OracleEngine
    number: int = 0

    @staticmethod
    def of(program: Assembler) -> Terminal:
        return Terminal(OracleEngine(program.payload(), SCHEMA, restarts=True))

    def score(
        self, t: int, amount: int = 0, *, flag: int = 1, gate: int = 1, token: int = 0
    ) -> int:
        """Score an event; the value of the first feature. ``self.number`` is its id."""
        self.number += 1
        self.ask(self.number, t, amount, flag, gate, token)
        return self.oracle.features()[0]

    def ask(
        self, id: int, t: int, amount: int, flag: int = 1, gate: int = 1, token: int = 0
    ) -> OracleVerdict:
        """Score an event under an id."""
        present = EVERYTHING if token else EVERYTHING & ~(1 << TOKEN)
        return self.oracle.score(id, t, t, (0, amount, token, 0, flag, gate, 0), present)

    def done(self, t: int, result: int = 0) -> None:
        """The outcome of the event scored last."""
        assert self.oracle.outcome(self.number, t, result, 0, 0) == 0

    def both(self, t: int, amount: int = 0, **others: int) -> int:
        """Score an event and approve it in the same second; the value read at scoring."""
        value = self.score(t, amount, **others)
        self.done(t)
        return value
