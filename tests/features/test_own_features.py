# SPDX-License-Identifier: Apache-2.0
"""Features defined in tinyfin.toml."""

from __future__ import annotations

import tomllib

import pytest

from tinyfin.config import from_table
from tinyfin.errors import ConfigError
from tinyfin.features.catalogue.reasons import own_texts
from tinyfin.features.compiler import Program, compile_program
from tinyfin.features.definition import Feature
from tinyfin.features.expressions import (
    Expression,
    all_of,
    either,
    equal,
    field,
    is_in,
    is_value,
    last_n,
    log2,
    outcome,
    repeat,
    window,
)
from tinyfin.features.selection import select
from tinyfin.pack.container import build_pack, parse_pack
from tinyfin.schema import PAYMENT


def chosen(text: str) -> tuple[Feature, ...]:
    return select(from_table(tomllib.loads(text)).features)


def compiled(text: str) -> Program:
    config = from_table(tomllib.loads(text))
    return compile_program(config.features, config.schema)


def same(text: str, expression: Expression) -> None:
    program = compiled(f'[features]\nnames = ["f"]\n[features.f]\n{text}')
    wanted = compile_program([Feature("f", 0xF000, 38, "", "", "before", expression)], PAYMENT)
    assert program.payload == wanted.payload


def test_an_operator_in_a_few_lines() -> None:
    same(
        """
        op = "window"
        key = "terminal"
        seconds = "10m"
        buckets = 10
        value = "amount_minor"
        where = "amount_minor <= 500 and entry_mode == 'keyed'"
        itself = true
        when = ["approved", "declined"]
        width = 4
        """,
        window(
            "terminal",
            seconds=600,
            buckets=10,
            value=field("amount_minor"),
            where=all_of(field("amount_minor") <= 500, is_value("entry_mode", "keyed")),
            itself=True,
            when=("approved", "declined"),
            width=4,
        ),
    )


@pytest.mark.parametrize(
    ("text", "expression"),
    [
        (
            "either(entry_mode in ('keyed', 'stripe'), log2(amount_minor), 0)",
            either(is_value("entry_mode", "keyed", "stripe"), log2(field("amount_minor")), 0),
        ),
        ("not mcc in (5411, 5812)", ~is_in(field("mcc"), (5411, 5812))),
        (
            "(amount_minor // 100 - 3) * 2 + mcc",
            (field("amount_minor") // 100 - 3) * 2 + field("mcc"),
        ),
        ("cvm != 'none' or atc < -1", ~is_value("cvm", "none") | (field("atc") < -1)),
        (
            "last_n('terminal', 8, outcome('response') == 51, when=('declined',))",
            last_n("terminal", 8, equal(outcome("response"), 51), when=("declined",)),
        ),
        ("repeat('card', mcc, 4, itself=true)", repeat("card", field("mcc"), 4, itself=True)),
        ("amt_log * 2", log2(field("amount_minor")) * 2),
    ],
)
def test_expressions(text: str, expression: Expression) -> None:
    same(f'expression = "{text}"', expression)


def test_own_features_build_on_each_other_and_follow_a_set() -> None:
    text = """
        [features]
        names = "default"
        [features.keyed_now]
        expression = "entry_mode == 'keyed'"
        doc = "1 when keyed"
        reason = 15
        side = "below"
        neutral = 3
        [features.keyed_big]
        expression = "keyed_now and amount_minor > 10000"
        """
    program = compiled(text)
    assert len(program.feature_names) == 31
    assert program.feature_names[-2:] == ("keyed_now", "keyed_big")
    assert program.feature_ids[-2:] == (0xF000, 0xF001)
    assert program.reason_ids[-2:] == (15, 38)
    own, other = select(from_table(tomllib.loads(text)).features)[-2:]
    assert (own.reasons, own.usual(7), own.usual(2)) == ((0, 15), 3, 2)
    assert (other.reasons, other.usual(7)) == ((38, 38), 7)
    assert chosen(text)[-2].definition == "1 when keyed"


@pytest.mark.parametrize(
    ("when", "moment"),
    [
        ("'declined'", "after"),
        ("'timed_out', 'reversed'", "after"),
        ("'approved'", "before"),
        ("'approved', 'declined'", "before"),
    ],
)
def test_who_learns_from_refusals_knows_them_later(when: str, moment: str) -> None:
    text = f"""[features]\nnames = ["f"]\n[features.f]
        op = "since"\nkey = "terminal"\ncap_s = 60\nwhen = [{when}]"""
    assert chosen(text)[0].moment == moment


def test_a_learned_cut_is_part_of_the_name() -> None:
    one = compile_program(["amt_over_22001"], PAYMENT)
    assert one.feature_names == ("amt_over_22001",)
    assert one.feature_ids == (103,)
    own = compiled('[features]\nnames = ["f"]\n[features.f]\nexpression = "amount_minor > 22001"')
    assert own.payload.replace(b"\x00\xf0", b"\x67\x00") == one.payload
    assert "22001" in select(["amt_over_22001"])[0].definition


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('op = "windw"', r"features\.f\.op: there is no operator 'windw'; did you mean 'window'"),
        ('op = "window"\nkeys = "card"', r"unknown key 'keys'; did you mean 'key'"),
        ('op = "since"\nkey = "card"\ncap_s = "10"', r"features\.f\.cap_s = '10': a duration"),
        ('op = "since"\nkey = "card"', r"missing a required.*argument: 'cap_s'"),
        ('op = "since"\nkey = "card"\ncap_s = true', r"cap_s = True must be of type int"),
        ('op = "log2"\nx = "amount_minor"\nreason = 999', r"features\.f\.reason = 999"),
        ('op = "log2"\nx = "amount_minor"\nreason = true', r"features\.f\.reason = True"),
        ('op = "log2"\nx = "amount_minor"\nreason = " "', r"reason = ' ': must be one line"),
        ("op = 'log2'\nx = 'amount_minor'\nreason = \"a\\nb\"", r"must be one line"),
        (f'op = "log2"\nx = "mcc"\nreason = "{"x" * 101}"', r"of 1 to 100 characters"),
        ('op = "log2"\nx = "amount_minor"\nside = "left"', r"features\.f\.side = 'left'"),
        ('op = "log2"\nx = "amount_minor"\nneutral = 0.5', r"features\.f\.neutral = 0\.5"),
        ('op = "log2"\nexpression = "1"', r"give either op"),
        ('doc = "x"', r"give either op"),
        ('expression = "foo(1)"', r"no operator 'foo'"),
        ('expression = "amount_minor <"', r"cannot be read"),
        ('expression = "amont + 1"', r"needs the field 'amont'.*lacks; leave"),
        ("expression = \"entry_mode == 'kyed'\"", r"no value 'kyed'; did you mean 'keyed'"),
        ('expression = "amount_minor / 2"', r"see ratio\(\)"),
        ('expression = "amount_minor % 100"', r"a remainder is x - x // n \* n"),
        (
            "expression = \"repeat('card', mcc, 4, itself=mcc)\"",
            r"itself = an expression must be of type bool",
        ),
        ('expression = "1 < amount_minor < 3"', r"compare two things at a time"),
        ("expression = \"'keyed'\"", r"is not a number"),
        ("expression = \"__import__('os')\"", r"no operator '__import__'"),
        ('expression = "amount_minor.x"', r"not part of the language"),
        ('expression = "[x for x in (1,)]"', r"not part of the language"),
        (
            "expression = \"window('terminal', second=60, buckets=6)\"",
            r"unknown key 'second'; did you mean 'seconds'",
        ),
    ],
)
def test_refusals_name_key_and_fix(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        compiled(f'[features]\nnames = ["f"]\n[features.f]\n{text}')


def test_what_training_fits_cannot_be_replaced() -> None:
    with pytest.raises(ConfigError, match=r"features\.event_odds: training fits"):
        compiled('[features.event_odds]\nexpression = "1"')


def test_texts_of_ones_own_are_numbered_in_order() -> None:
    features = """
        [features]
        names = ["c", "b", "a", "d", "e"]
        [features.a]
        expression = "mcc"
        reason = "not a shop that we know"
        [features.b]
        expression = "mcc * 2"
        reason = "not a shop that we know"
        side = "below"
        [features.c]
        expression = "mcc * 3"
        reason = "same card again"
        [features.d]
        expression = "mcc * 4"
        reason = 7
        [features.e]
        expression = "mcc * 5"
        reason = "three <\\"times\\"> é"
        """
    program = compiled(features)
    assert program.reason_ids == (7, 128, 128, 7, 129)
    assert program.reason_texts == {128: "not a shop that we know", 129: 'three <"times"> é'}
    assert chosen(features)[1].reasons == (0, 128)
    pack = parse_pack(build_pack(PAYMENT, program))
    assert own_texts(pack.meta) == program.reason_texts
    assert compiled('[features.a]\nexpression = "mcc"').reason_texts == {}


@pytest.mark.parametrize("reasons", [7, ["x"], {"7": "y", "127": "y", "255": "y", "128": 3}])
def test_what_is_no_text_of_a_pack_is_passed_over(reasons: object) -> None:
    assert own_texts({"reasons": reasons}) == {}


def test_too_many_texts_are_refused() -> None:
    tables = "".join(f'[features.f{i}]\nexpression = "{i}"\nreason = "x{i}"\n' for i in range(128))
    with pytest.raises(ConfigError, match=r"features\.f127\.reason = 'x127': there may be 127"):
        compiled(f'[features]\nnames = ["f0"]\n{tables}')
