# SPDX-License-Identifier: Apache-2.0
"""A full table of a terminal is said, counted right, and the advice is enough."""

from __future__ import annotations

import json
from bisect import insort
from collections import Counter, OrderedDict
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.cli import tinyfin, tinyfin_json
from tests.support.transactions import transactions
from tinyfin import simulator
from tinyfin.config import Simulate
from tinyfin.data.events import NOTICE, OUTCOME, event_stream
from tinyfin.data.transactions import NO_RESULT, Transactions
from tinyfin.features.compiler import Program, compile_program
from tinyfin.pack.sections import encode_schema
from tinyfin.results.capacities import Capacities
from tinyfin.schema import PAYMENT
from tinyfin.training.capacities import (
    LEVEL,
    MOST,
    CapacityRows,
    Labels,
    LookBack,
    capacities,
    capacity_lines,
    labels_needed,
)
from tinyfin.twin import FeatureTwin

LABELS = ["known_run", "known_run_age_h", "known_last", "known_labels_28d"]
CARDS = ["tok_seen_cnt"]
FOR_EVER = ["amt_to_card_mean"]
LARGEST = {"pending": 256, "card_sets": 4096, "card_ways": 16, "terminal_labels": 128}


def crowd(seed: int, *, lost: bool = True, n: int = 1200) -> Transactions:
    """Busy and idle terminals, cards that come again, late and lost outcomes, late labels."""
    rng = np.random.default_rng(seed)
    t = np.sort(rng.integers(0, 90 * 86_400, n)).astype(np.uint32)
    values = np.zeros((n, len(PAYMENT.fields)), np.int64)
    values[:, PAYMENT.index("amount_minor")] = rng.integers(1, 5000, n)
    card = rng.integers(1, 120, n) * 0x0E3779B97F4A7C15
    values[:, PAYMENT.index("token")] = card
    fields = (1 << PAYMENT.index("amount_minor")) | (1 << PAYMENT.index("token"))
    without = 1 << PAYMENT.index("amount_minor")
    late = rng.choice([0, 0, 30, 90_000, 400_000], n)
    return transactions(
        t,
        terminal=(rng.random(n) ** 2 * 4).astype(np.int32),
        terminals=tuple("abcd"),
        values=values,
        present=np.where(rng.random(n) < 0.9, fields, without),
        result=np.where(rng.random(n) < 0.1 * lost, NO_RESULT, 0),
        outcome_t_mono_s=t + late,
        label=rng.choice([-1, 0, 0, 1], n),
        label_known_s=t + rng.integers(0, 20 * 86_400, n),
    )


def through(tx: Transactions, names: list[str], **sizes: int) -> tuple[Program, Any, Capacities]:
    """The program, what the engine makes of the rows, and what is said of its capacities."""
    program = compile_program([*names], PAYMENT, **sizes)
    twin = FeatureTwin(encode_schema(PAYMENT), program.payload, terminals=len(tx.terminals))
    found = twin.run(tx, event_stream(tx))
    counters = twin.counters()
    rows = CapacityRows.of(tx, "both")
    return program, found.features, capacities(program.payload, counters, rows)


def counted(tx: Transactions, program: Program) -> Counter[str]:
    """Overflows of the events, counted with lists; docs/formats/program.md says what counts."""
    count: Counter[str] = Counter()
    pending: dict[int, list[int]] = {}
    tables: dict[int, dict[int, OrderedDict[int, list[Any]]]] = {}
    rings: dict[int, list[Any]] = {}
    token = tx.column("token")
    stream = event_stream(tx)

    def commit(row: int) -> None:
        own = int(token[row]) if tx.has("token")[row] else 0
        if own and program.card_sets:
            number = (own ^ own >> 32) % 2**32 % program.card_sets
            ways = tables.setdefault(int(tx.terminal[row]), {}).setdefault(number, OrderedDict())
            if own not in ways:
                if len(ways) == program.card_ways:
                    ways.popitem(last=False)
                    count["evictions"] += 1
                ways[own] = []
            ways.move_to_end(own)

    def learn(ring: list[Any], capacity: int, row: int) -> None:
        insort(ring, (int(tx.t_mono_s[row]), 2 * int(tx.id[row]) + int(tx.label[row])))
        if len(ring) > capacity:
            del ring[0]
            count["label_overflows"] += 1

    for kind, row in zip(stream.kind.tolist(), stream.index.tolist(), strict=True):
        terminal = int(tx.terminal[row])
        waiting = pending.setdefault(terminal, [])
        if kind == NOTICE:
            if program.terminal_labels:
                learn(rings.setdefault(terminal, []), program.terminal_labels, row)
            own = int(token[row]) if tx.has("token")[row] else 0
            number = (own ^ own >> 32) % 2**32 % max(1, program.card_sets)
            slot = tables.get(terminal, {}).get(number, {}).get(own)
            count["notices"] += program.terminal_labels > 0 or (
                program.card_labels > 0 and slot is not None
            )
            if program.card_labels and slot is not None:
                learn(slot, program.card_labels, row)
        elif kind == OUTCOME:
            if row in waiting:
                waiting.remove(row)
                commit(row)
        else:
            count["scored"] += 1
            if len(waiting) == program.pending:
                commit(waiting.pop(0))
                count["pending_overflows"] += 1
            waiting.append(row)
    return count


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("names", [LABELS + CARDS, ["card_known_last"], FOR_EVER])
def test_the_engine_s_counters_are_those_of_counting(seed: int, names: list[str]) -> None:
    tx = crowd(seed)
    sizes = {"pending": 2, "card_sets": 4, "card_ways": 2, "terminal_labels": 6, "card_labels": 1}
    program, _, said = through(tx, names, **sizes)
    count = counted(tx, program)
    assert said.pending.overflows == count["pending_overflows"] > 0
    assert said.pending.of == count["scored"] == len(tx)
    assert said.cards is not None
    assert said.cards.overflows == count["evictions"] > 0
    if said.labels is not None:
        assert said.labels.overflows == count["label_overflows"] > 0
        assert said.labels.of == count["notices"] * len(said.labels.now)
        assert said.labels.share == count["label_overflows"] / said.labels.of
    assert (said.labels is None) == (names == FOR_EVER)


def test_the_advice_loses_nothing_that_features_look_back_on() -> None:
    """With it features are those of the largest tables, and with less they are others."""
    worse = 0
    for seed in range(6):
        tx = crowd(seed, lost=False)
        small = {"card_sets": 1, "card_ways": 1, "terminal_labels": 1, "pending": 1}
        for names in (LABELS, CARDS):
            _, ideal, _ = through(tx, names, **LARGEST)
            _, lossy, said = through(tx, names, **small)
            assert not np.array_equal(lossy, ideal)
            tables = [one for one in (said.labels, said.cards, said.pending) if one is not None]
            assert all(one.too_small for one in tables)
            advice = {k: v for one in tables for k, v in (one.enough or {}).items()}
            _, good, said = through(tx, names, **{**small, **advice})
            assert np.array_equal(good, ideal)
            assert capacity_lines(said) == []
            assert said.pending.overflows == 0
            less = {k: max(1, v // 2) for k, v in advice.items() if k != "pending"}
            _, bad, _ = through(tx, names, **{**small, **advice, **less})
            worse += not np.array_equal(bad, ideal)
    assert worse >= 8


@pytest.mark.parametrize(("name", "needed"), [("known_run", 20), ("known_run_age_h", 7)])
def test_a_run_of_frauds_is_looked_at_beyond_the_span(name: str, needed: int) -> None:
    """A fraud every five days: six within 28 days, and the run began before them."""
    t = (np.arange(20) * 5 * 86_400)[:, None] + np.array([0, 60])
    tx = transactions(t.ravel(), label=np.tile([1, -1], 20), label_known_s=t.ravel())
    _, ideal, _ = through(tx, [name], **LARGEST)
    _, _, said = through(tx, [name], terminal_labels=1)
    assert said.labels is not None
    assert said.labels.enough == {"terminal_labels": needed}
    assert np.array_equal(through(tx, [name], terminal_labels=needed)[1], ideal)
    assert not np.array_equal(through(tx, [name], terminal_labels=needed - 1)[1], ideal)


def test_what_never_ends_counts_while_it_is_newer_than_what_waits() -> None:
    """Four that never end, one that waits, three that never end: of eight, four entries."""
    comes = np.array([0, 0, 0, 0, 1, 0, 0, 0], bool)
    t = np.arange(8) * 60
    tx = transactions(
        t, result=np.where(comes, 0, NO_RESULT), outcome_t_mono_s=t + 6000, label=-np.ones(8)
    )
    _, _, said = through(tx, CARDS, pending=3)
    assert said.pending.enough == {"pending": 4}
    for pending, lost in ((4, 0), (3, 1)):
        program = compile_program(CARDS, PAYMENT, pending=pending)
        twin = FeatureTwin(encode_schema(PAYMENT), program.payload)
        twin.run(tx, event_stream(tx))
        assert twin.counters()["unknown_outcomes"] == lost


@pytest.mark.parametrize("seed", range(3))
def test_the_advice_for_what_has_no_end_never_overflows(seed: int) -> None:
    tx = crowd(seed, lost=False)
    _, _, said = through(tx, FOR_EVER, card_sets=1, card_ways=1, pending=1)
    assert said.cards is not None
    assert LookBack.of(compile_program(FOR_EVER, PAYMENT).payload).card_s is None
    advice = {**said.cards.enough, **said.pending.enough}
    _, _, good = through(tx, FOR_EVER, **advice)
    assert (good.cards.overflows, good.pending.overflows) == (0, 0)
    _, _, fewer = through(tx, FOR_EVER, **{**advice, "card_sets": advice["card_sets"] // 2})
    assert fewer.cards.overflows > 0
    _, _, fewer = through(tx, FOR_EVER, **{**advice, "pending": advice["pending"] - 1})
    assert fewer.pending.overflows > 0


def test_old_labels_that_no_feature_looks_at_are_no_loss() -> None:
    """A ring that is full drops a label for each new one; that alone is no reason for a line."""
    n = 400
    t = np.arange(n) * 86_400
    tx = transactions(t, label=np.zeros(n), label_known_s=t + 7 * 86_400)
    _, _, said = through(tx, ["known_labels_28d"], terminal_labels=22)
    assert said.labels is not None
    assert said.labels.share > 0.9
    assert not said.labels.too_small
    assert capacity_lines(said) == []
    _, _, said = through(tx, ["known_labels_28d"], terminal_labels=20)
    assert said.labels.enough == {"terminal_labels": 21}
    assert "terminal_labels = 21 would have been enough" in capacity_lines(said)[0]


def test_more_than_there_can_be_is_said() -> None:
    n = 600
    t = np.arange(n) * 3600
    tx = transactions(t, label=np.zeros(n), label_known_s=t)
    _, _, said = through(tx, ["known_labels_28d"])
    assert said.labels is not None
    assert said.labels.enough == {"terminal_labels": MOST["terminal_labels"] + 1}
    assert "more than [features] terminal_labels = 128, the most" in capacity_lines(said)[0]
    assert "would have been enough" not in capacity_lines(said)[0]


CONFIG = """
[features]
names = ["amt_log", "known_labels_28d", "tok_seen_cnt"]
terminal_labels = {labels}
card_sets = {sets}
card_ways = {ways}
[model]
family = "density"
[evaluate]
baselines = []
seeds = 1
weeks = 1
"""


def test_train_score_and_evaluate_say_what_to_change(tmp_path: Path) -> None:
    data = tmp_path / "t.parquet"
    simulator.write(simulator.simulate(Simulate(terminals=3, days=40, seed=3)), data)
    config = tmp_path / "c.toml"
    config.write_text(CONFIG.format(labels=2, sets=1, ways=1))
    said = tinyfin("train", data, "--config", config, "--name", "a", "--out", tmp_path).output
    assert "label rings (terminal_labels = 2)" in said
    assert "card table (card_sets = 1, card_ways = 1)" in said
    run = tmp_path / "a"
    tinyfin("quantize", run)
    facts = json.loads((run / "run.json").read_text())["capacities"]
    scored = tinyfin_json("score", run, data, "--out", tmp_path / "s.csv")
    assert scored["capacities"] == facts
    assert (
        "card table (card_sets" in tinyfin("score", run, data, "--out", tmp_path / "s.csv").output
    )
    assert "card table (card_sets" in tinyfin("evaluate", run, data).output
    assert json.loads((run / "evaluation.json").read_text())["capacities"] == facts
    card = (run / "MODEL_CARD.md").read_text()
    assert "## Memory of a terminal" in card
    assert "would have been enough" in card
    assert facts["cards"]["share"] > LEVEL
    table, labels = facts["cards"]["enough"], facts["labels"]["enough"]["terminal_labels"]
    sizes = {"sets": table["card_sets"], "ways": table["card_ways"], "labels": min(labels, 128)}
    config.write_text(CONFIG.format(**sizes))
    args = (data, "--config", config, "--name", "b", "--out", tmp_path)
    result = tinyfin("train", *args, "--json")
    assert "card table" not in result.output
    assert not json.loads(result.stdout)["capacities"]["cards"].get("too_small", False)


def needed_one_by_one(
    owner: list[int], known_s: list[int], t_s: list[int], fraud: list[int], look: Labels, most: int
) -> int:
    """The same, by rings that take one label after the other."""
    rings: dict[int, list[tuple[int, int]]] = {}
    needed = look.fewest
    for whose, now, t, bad in zip(owner, known_s, t_s, fraud, strict=True):
        ring = rings.setdefault(whose, [])
        insort(ring, (t, bad))
        inside = sum(at > now - look.span_s for at, _ in ring)
        run = list(takewhile(lambda label: label[1], reversed(ring)))
        needed = max(needed, min(inside + look.one_more, len(ring)), look.runs * len(run))
    return min(needed, most + 1)


@pytest.mark.parametrize("one_more", [False, True])
@pytest.mark.parametrize("runs", [False, True])
def test_labels_that_are_needed_are_those_of_rings_filled_one_by_one(
    one_more: bool, runs: bool
) -> None:
    found = set()
    for seed in range(300):
        rng = np.random.default_rng(seed)
        n = int(rng.integers(0, 40))
        t = rng.integers(0, 60, n)
        known = t + rng.integers(0, rng.choice([1, 5, 40]), n)
        at = np.argsort(known, kind="stable")
        owner, fraud = rng.integers(0, 3, n), (rng.random(n) < rng.choice([0.2, 0.9])).astype(int)
        columns = [x[at].astype(np.int64) for x in (owner, known, t, fraud)]
        look = Labels(int(rng.integers(0, 3)), int(rng.choice([0, 3, 20])), one_more, runs)
        most = int(rng.choice([3, 100]))
        needed = labels_needed(*columns, look, most)
        assert needed == needed_one_by_one(*(x.tolist() for x in columns), look, most), seed
        found.add(needed)
    assert len(found) >= 8, "the draws are too alike to tell"
