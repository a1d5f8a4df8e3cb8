# SPDX-License-Identifier: Apache-2.0
"""What the manual says of values outside of a field's range (VALUES in tinyfin.h)."""

from __future__ import annotations

from tests.support.native import Engine, record_of
from tinyfin.features.compiler import compile_program
from tinyfin.features.own_features import define_feature
from tinyfin.pack.container import build_pack
from tinyfin.schema import Field, Schema

SCHEMA = Schema(
    "till",
    (
        Field("kind", "enum", 1, ("one", "two", "three")),
        Field("small", "i32", -7),
        Field("big", "i64"),
        Field("token", "u64", unit="token"),
        Field("mark", "u64"),
    ),
)
EXPRESSIONS = {
    "number": "kind",
    "is_two": "kind == 'two'",
    "known_code": "lookup(kind, [10, 11, 12], outside=99)",
    "share": "share('terminal', kind, classes=3, shift=2)",
    "before": "previous('terminal', kind, otherwise=0)",
    "plain": "small",
    "top": "big // 16777216 // 16777216",  # 2^48
    "mark_top": "mark // 16777216 // 16777216",
    "again": "seen()",
}
SATURATED = 2
ALL = 2 ** len(SCHEMA.fields) - 1
TOP = (2**62 - 1) >> 48


def opened() -> Engine:
    features = [
        define_feature(name, {"expression": text}, 9000 + i, {})
        for i, (name, text) in enumerate(EXPRESSIONS.items())
    ]
    return Engine(build_pack(SCHEMA, compile_program(features, SCHEMA)))


def record(present: int = ALL, **values: int) -> bytes:
    return record_of(SCHEMA, [values.get(field.name, 0) for field in SCHEMA.fields], present)


class Terminal:
    def __init__(self) -> None:
        self.engine, self.id = opened(), 0

    def __call__(self, present: int = ALL, **values: int) -> dict[str, int]:
        """Scores and approves an event; its features and flags."""
        self.id += 1
        verdict = self.engine.score(self.id, 60 * self.id, record(present, **values))
        found = dict(zip(EXPRESSIONS, self.engine.features(), strict=True))
        self.engine.outcome(self.id, 60 * self.id)
        return {**found, "flags": verdict.flags}


def test_a_code_that_an_enum_does_not_have() -> None:
    event = Terminal()
    assert [event(kind=k)["known_code"] for k in (0, 1, 2)] == [10, 11, 12]
    assert event(kind=1)["is_two"] == 1
    for code in (3, 77, -1, -5, 2**15 - 1):
        found = event(kind=code)
        assert (found["number"], found["is_two"], found["known_code"]) == (code, 0, 99)
        assert found["flags"] & SATURATED == 0


def test_shares_leave_an_unknown_code_out() -> None:
    """The control: a known code changes them."""

    def share_after(code: int | None) -> int:
        event = Terminal()
        for kind in (0, 0, 1, *([] if code is None else [code])):
            event(kind=kind)
        return event(kind=0)["share"]

    assert share_after(3) == share_after(-5) == share_after(500) == share_after(None)
    assert share_after(1) != share_after(None)


def test_what_is_kept_is_cut_off_at_the_bytes_of_the_range() -> None:
    event = Terminal()
    event(kind=100)
    assert event(kind=0)["before"] == 100
    assert event.engine.stats("saturations") == 0
    event(kind=1000)
    found = event(kind=-1000)
    assert found["before"] == 127
    assert found["flags"] & SATURATED == 0
    assert event(kind=0)["before"] == -128
    assert event.engine.stats("saturations") == 2


def test_numbers_are_cut_off_at_the_ends_of_registers_and_features() -> None:
    event = Terminal()
    for sign in (1, -1):
        assert event(big=sign * (2**63 - 1))["top"] == (TOP if sign > 0 else -TOP - 1)
    assert event(mark=2**64 - 1)["mark_top"] == TOP
    assert event(mark=2**63 + (5 << 48))["mark_top"] == 5
    found = event(small=2**31 - 1)
    assert (found["plain"], found["flags"] & SATURATED) == (2**15 - 1, SATURATED)
    assert event.engine.stats("saturations") == 1


def test_a_token_counts_whole() -> None:
    """Two cards that differ in the two bits which a u64 loses elsewhere are two cards."""
    event = Terminal()
    event(token=5)
    assert event(token=5 + 2**63)["again"] == 0
    assert event(token=5)["again"] == 1


def test_what_present_leaves_out_is_not_read() -> None:
    event = Terminal()
    found = event(0, kind=2, small=5, token=7)
    assert (found["number"], found["plain"]) == (1, -7)
    assert event(token=7)["again"] == 0
    assert Terminal()(2**32 - 1, kind=2) == Terminal()(ALL, kind=2)
