# SPDX-License-Identifier: Apache-2.0
"""The catalogue: ids that last, sizes, and every feature equal on the engine and the oracle."""

from __future__ import annotations

import json

import numpy as np

from tests.support.cli import tinyfin
from tinyfin.features.catalogue import BY_NAME, DEFAULT, FEATURES, REASONS
from tinyfin.features.compiler import compile_program
from tinyfin.features.graph import is_late
from tinyfin.features.selection import select
from tinyfin.oracle import OracleEngine
from tinyfin.pack.container import build_pack
from tinyfin.schema import PAYMENT, PAYMENT_HOST_ODDS
from tinyfin.twin import Twin

# name: (id, reason). Packs, logs and receipts hold these: a line may be added, never changed
LASTING = {
    "amt_log": (1, 1),
    "amt_dev": (2, 1),
    "gap_s": (9, 4),
    "decl_run": (20, 11),
    "entry_rare": (25, 16),
    "keyed_run": (27, 18),
    "refund_unlinked": (34, 23),
    "offline_run": (38, 27),
    "tamper_bits": (43, 33),
    "amt_over": (103, 1),
    "known_last": (201, 35),
    "known_rate_28d": (206, 35),
    "card_known_last": (221, 36),
    "exp_spread": (18, 39),
    "amt_to_avg": (106, 1),
    "amt_to_card_avg": (108, 37),
    "card_visits": (117, 9),
    "card_age_h": (118, 9),
    "boot_gap_s": (142, 32),
    "rate_900_dev_week": (160, 5),
    "amt_to_host_mean": (301, 37),
    "host_rise": (302, 41),
    "host_30d": (306, 7),
    "host_frauds": (307, 36),
    "host_mean_log": (308, 0),
    "near_floor_repeat": (238, 7),
    "refund_card_repeat": (239, 7),
    "exceptions_8h": (240, 42),
}


def test_ids_and_names_are_unique() -> None:
    assert len({feature.id for feature in FEATURES}) == len(FEATURES) == len(BY_NAME)
    assert all(0 < feature.id < 0xF000 for feature in FEATURES)
    assert all(feature.reason in {0, *REASONS} for feature in FEATURES)
    assert all(feature.definition and feature.catches for feature in FEATURES)
    assert not {feature.name for feature in FEATURES} & set(PAYMENT_HOST_ODDS.names)
    assert {feature.id for feature in FEATURES if feature.id <= 44} == {*range(1, 45)}


def test_ids_and_reasons_last() -> None:
    assert {name: (BY_NAME[name].id, BY_NAME[name].reason) for name in LASTING} == LASTING


def test_what_a_feature_is_compared_with() -> None:
    assert [BY_NAME["gap_s"].usual(300), BY_NAME["gap_s"].reasons] == [300, (0, 4)]
    assert [BY_NAME["decl_run"].usual(m) for m in (0, 3)] == [0, 3]
    assert [BY_NAME["rate_60"].usual(m) for m in (0, 3)] == [1, 3]
    assert BY_NAME["amt_to_avg"].usual(50) == 64
    assert BY_NAME["card_visits"].reasons == (7, 9)
    given = [reason for feature in FEATURES for reason in feature.reasons]
    assert set(given) <= {0, *REASONS}
    assert all(feature.side != "both" or not feature.other for feature in FEATURES)


def test_the_default_fits_a_terminal() -> None:
    program = compile_program("default", PAYMENT, pending=8, card_sets=16, card_ways=4)
    assert len(program.feature_names) == 29
    assert program.card_table_bytes == 64 * program.card_slot_bytes
    assert program.state_bytes < 4500
    assert program.memory_bytes() < 5000


def test_the_stream_set_needs_little() -> None:
    needed = {field for feature in select("stream") for field in feature.fields}
    assert needed <= {"amount_minor", "token", "transaction_type"}


def test_restarts_lose_nothing_of_the_default() -> None:
    ram_only = {field.name for field in PAYMENT.fields if field.ram_only}
    assert not ram_only & {field for name in DEFAULT for field in BY_NAME[name].fields}
    assert ram_only & set(BY_NAME["bin_conc"].fields)


def _random_values(rng: np.random.Generator) -> tuple[list[int], int]:
    choices = {
        "amount_minor": (0, 1, 50, 199, 200, 201, 1000, 1999, 2400, 2400, 250_000, 2**45, -5),
        "token": (0, 1, 2, 2, 3, 2**64 - 1),
        "tvr": (0, 2**40 - 1, 0x8000048000, -1),
        "floor_limit_minor": (0, 0, 2500, 10_000),
        "queued_minor": (0, 5000, 2**40),
        "stan": (999_998, 999_999, 1, 2, 77),
        "chip_failures": (0, 0, 0, 1, 2),
        "host_card_mean_minor": (-1, 0, 1, 1999, 250_000, 2**45, -(2**63)),
        "host_card_mean_7d_minor": (-1, 0, 1, 1999, 250_000, 2**45, 2**63 - 1),
        "host_card_count_1d": (-1, 0, 1, 999, 1000, 1001, 2**31 - 1),
        "host_card_known_frauds": (-1, 0, 1, 99, 100, 101, -(2**31)),
    }
    values = []
    for field in PAYMENT_HOST_ODDS.fields:
        if field.name == "transaction_type":
            values.append(int(rng.choice((0, 0, 0, 1, 3, 4, 4, 6))))
        elif field.type == "enum":
            values.append(int(rng.integers(-1, len(field.values))))
        else:
            values.append(int(rng.choice(np.array(choices.get(field.name, (0, 1, 2, 9)), object))))
    every = 2 ** len(PAYMENT_HOST_ODDS.fields) - 1
    present = every if rng.random() < 0.7 else int(rng.integers(0, every + 1))
    return values, present


def test_every_feature_is_the_oracles_and_moves() -> None:
    program = compile_program(
        [feature.name for feature in FEATURES],
        PAYMENT_HOST_ODDS,
        pending=3,
        card_sets=2,
        card_ways=2,
        terminal_labels=5,
        card_labels=2,
    )
    twin = Twin(build_pack(PAYMENT_HOST_ODDS, program))
    oracle = OracleEngine(program.payload, PAYMENT_HOST_ODDS)
    assert twin.memory_size == program.memory_bytes()
    assert twin.state_size == 64 + program.state_bytes
    rng = np.random.default_rng(0)
    t, changed = 800_000_000, np.zeros(len(FEATURES), bool)
    first: list[int] = []
    for number in range(400):
        t += int(rng.choice([0, 1, 1, 7, 7, 60, 299, 3600, 90_000, -5]))
        values, present = _random_values(rng)
        local = t + int(rng.choice([0, 0, 3600, -7200]))
        signed = [v - 2**64 if v >= 2**63 else v for v in values]
        verdict = twin.score(0, number, t, local, np.array(signed, np.int64), present)
        expected = oracle.score(number, t, local, values, present)
        got = twin.features(0).tolist()
        assert dict(zip(program.feature_names, got, strict=True)) == dict(
            zip(program.feature_names, oracle.features(), strict=True)
        )
        assert verdict.flags == expected.flags
        first = first or got
        changed |= np.array(got) != np.array(first)
        if rng.random() < 0.9:
            result = int(rng.choice([0, 0, 0, 1, 2, 3, 4]))
            answer = (t, result, int(rng.choice([-1, 0, 14, 41, 51])), 0)
            assert twin.outcome(0, number, *answer) == oracle.outcome(number, *answer)
        if rng.random() < 0.4:
            notice = (int(rng.integers(0, number + 1)), int(values[1]), t, t - 500, number % 2)
            assert twin.notice(0, *notice) == oracle.notice(*notice)
    assert twin.state_digest(0) == oracle.state_digest()
    still = [name for name, moved in zip(program.feature_names, changed, strict=True) if not moved]
    assert still == []


def test_the_list_names_definition_bytes_moment_and_catches() -> None:
    result = tinyfin("features --json")
    rows = {row["name"]: row for row in json.loads(result.stdout)["features"]}
    assert set(rows) == set(BY_NAME)
    assert rows["decl_run"]["moment"] == "R"
    late = {name for name, feature in BY_NAME.items() if is_late(feature.expression)}
    assert late == {name for name, row in rows.items() if row["moment"] != "P"}
    assert rows["decl_run"]["terminal_bytes"] == 8
    assert rows["tok_gap_s"]["card_bytes"] == 24
    assert rows["amt_log"]["definition"]
    assert rows["amt_log"]["catches"]
    text = tinyfin("features --set default")
    assert "29 features together" in text.stdout
