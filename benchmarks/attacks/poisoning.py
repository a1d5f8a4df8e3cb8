# SPDX-License-Identifier: Apache-2.0
"""Poisoning of what a terminal remembers: genuine sales before the fraud, and false notices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.attacks.figures import Ints, table
from benchmarks.attacks.town import START_S, Crime, Town, labelled, learned, places_and_times
from tinyfin import simulator
from tinyfin.simulator.attacks import attacks
from tinyfin.simulator.rows import ENTRY, TYPE, Rows, make, take
from tinyfin.simulator.world import DAY

COUNTS = (0, 1, 10, 100, 1000)
DAYS_BEFORE = 10
SHARES = (0.0, 0.5, 0.75, 0.9, 0.95, 0.98, 1.0)
"""Of the notices of fraud that the insider turns into genuine."""
FALSE_SHARES = (0.0, 0.001, 0.01, 0.05, 0.1)
"""Of the notices that the insider turns into fraud."""
NOTICES_CONFIG = """[features]
names = ["stream", "event_odds", "compromised_odds", "fraud_odds"]
[model]
family = "boosted"
options = {trees = 80}
[decision]
go_online = 0.3
[evaluate]
baselines = []
"""
_SMALL_MINOR = (100, 500)
_OTHER_CARDS = 1 << 50


def same_card(crime: Crime, n: int, rng: np.random.Generator) -> Rows:
    """Small taps with the cards of the fraud, in turn."""
    first = np.unique(crime.rows["card"], return_index=True)[1]
    which = np.sort(first)[np.arange(n) % len(first)]
    return _taps(crime.rows["card"][which], crime.rows["bin"][which], n, rng)


def same_terminal(crime: Crime, n: int, rng: np.random.Generator) -> Rows:
    """Small taps, each with another card."""
    cards = _OTHER_CARDS + (crime.terminal << 16) + np.arange(n)
    return _taps(cards, rng.integers(0, 40, n), n, rng)


def alike(crime: Crime, n: int, rng: np.random.Generator) -> Rows:
    """Transactions like those of the fraud, with other cards, which are paid for."""
    cards = _OTHER_CARDS + (crime.terminal << 16) + np.arange(n)
    which = rng.integers(0, len(crime.rows["card"]), n)
    return take(
        crime.rows,
        which,
        card=cards,
        response=0,
        label=0,
        scenario=0,
        result=-1,
        stan=-1,
        expiry=-1,
    )


def _taps(cards: Ints, bins: Ints, n: int, rng: np.random.Generator) -> Rows:
    return make(
        n,
        card=cards,
        bin=bins,
        amount_minor=rng.integers(*_SMALL_MINOR, n) // 10 * 10,
        type=TYPE["purchase"],
        entry=ENTRY["contactless_chip"],
    )


KINDS = {"same card": same_card, "same terminal": same_terminal, "alike": alike}


def before(town: Town, crime: Crime, rows: Rows) -> Rows:
    """``rows`` at the terminal of the crime, spread over the opening hours of the days before."""
    n = len(rows["card"])
    until = int(crime.rows["time_s"][0])
    span = town.opens(crime.terminal, until - DAYS_BEFORE * DAY, np.arange(0, DAYS_BEFORE * DAY, 7))
    span = span[span < until - 600]
    when = span[np.linspace(0, len(span) - 1, n).astype(int)] if n else span[:0]
    return take(rows, np.arange(n), terminal=crime.terminal, time_s=when)


@dataclass(frozen=True)
class Poisoned:
    """A scenario's fraud behind ``sales`` genuine sales of one kind."""

    scenario: str
    kind: str
    sales: int
    transactions: int
    alerts: int
    log_odds: float
    """Mean over the transactions."""
    paid_minor: float
    """What the sales cost, per incident."""


def by_sales(town: Town, names: Sequence[str]) -> list[Poisoned]:
    out = []
    for name, (kind, sales), n in product(names, KINDS.items(), COUNTS):
        crimes = town.crimes(name)
        rng = town.world.rng("poison", name, kind, n)
        extra = [before(town, crime, sales(crime, n, rng)) for crime in crimes]
        for crime in crimes:
            town.disturb(crime, crime.rows["time_s"])
        answers = town.answers(town.transactions([*extra, *(crime.rows for crime in crimes)]))
        fraud = answers.tx.label == 1
        out.append(
            Poisoned(
                name,
                kind,
                n,
                int(np.count_nonzero(fraud)),
                int(np.count_nonzero(answers.alert & fraud)),
                float(answers.log_odds[fraud].mean()),
                float(np.mean([part["amount_minor"].sum() for part in extra])),
            )
        )
    town.calm()
    return out


def compromised(
    place: Ints, time_s: Ints, spans: Sequence[tuple[int, float, float]], seed: int
) -> npt.NDArray[np.bool_]:
    """Six in ten of the rows at terminals that are compromised: number, first and last day."""
    within = np.zeros(len(place), bool)
    for terminal, first, last in spans:
        day = (time_s - START_S) / DAY
        within |= (place == terminal) & (day >= first) & (day < last)
    return within & (np.random.default_rng(seed).random(len(place)) < 0.6)


def notices_pack(folder: Path, seed: int, *, terminals: int, days: int) -> bytes:
    """A pack that learned of compromised terminals: one in five is, in turn, for 9 to 15 days of
    every twenty."""
    town = Town(b"", terminals=terminals, warm_days=0, open_days=days, seed=seed)
    table = simulator.as_table(town.world, town.business)
    rng = np.random.default_rng(seed)
    spans = []
    for terminal, turn in product(range(terminals), range(days // 20)):
        if (terminal + turn) % 5 == 0:
            first = 20 * turn + rng.uniform(0, 20)
            spans.append((terminal, first, first + rng.uniform(9, 15)))
    bad = compromised(*places_and_times(table), spans, seed)
    return learned(
        labelled(table, bad.astype(np.int8)), NOTICES_CONFIG, folder, "notices"
    ).pack_bytes()


def by_notices(town: Town, seed: int) -> dict[str, list[dict[str, float]]]:
    """What an insider who writes notices can do.

    ``hidden``: every fourth terminal is compromised from the first open day on. ``false``: none is.
    Rates are those of the rows from nine days later on, two days after the first notices of it.
    """
    tx = town.transactions()
    place = np.array([int(name[1:]) for name in tx.terminals])[tx.terminal]
    time_s = tx.t_mono_s.astype(np.int64)
    spans = [(t, town.warm_days, town.world.days) for t in range(0, len(tx.terminals), 4)]
    bad = compromised(place, time_s, spans, seed)
    late = time_s >= START_S + (town.warm_days + 9) * DAY
    draw = np.random.default_rng(seed + 1).random(len(tx))
    hidden, false = [], []
    for share in SHARES:
        alert = town.answers(tx, (bad & (draw >= share)).astype(np.int8)).alert
        there, elsewhere = late & ~bad & (place % 4 == 0), late & (place % 4 != 0)
        hidden.append(
            {
                "share": share,
                "detected": float(alert[late & bad].mean()),
                "genuine_there_per_1000": 1000 * float(alert[there].mean()),
                "elsewhere_per_1000": 1000 * float(alert[elsewhere].mean()),
            }
        )
    for share in FALSE_SHARES:
        alert = town.answers(tx, (draw < share).astype(np.int8)).alert
        false.append({"share": share, "false_alerts_per_1000": 1000 * float(alert[late].mean())})
    return {"hidden": hidden, "false": false}


def frauds() -> list[str]:
    """The scenarios that the reference model was trained on."""
    return [name for name, one in attacks().items() if one.label == 1 and not one.on_demand]


def page(found: Sequence[Poisoned]) -> str:
    """Detection, by number of sales, of all scenarios together and of each."""

    def cell(rows: Sequence[Poisoned]) -> str:
        made = sum(one.transactions for one in rows)
        odds = sum(one.log_odds * one.transactions for one in rows) / made
        return f"{sum(one.alerts for one in rows) / made:.1%}, {odds:+.2f}"

    def cells(scenario: str, n: int) -> list[str]:
        rows = [one for one in found if one.sales == n and scenario in ("all", one.scenario)]
        return [cell([one for one in rows if one.kind == kind]) for kind in KINDS]

    names = dict.fromkeys(one.scenario for one in found)
    lines = [("all", n) for n in COUNTS] + [(name, n) for name in names for n in (0, COUNTS[-1])]
    return table(
        ["scenario", "sales before", *KINDS],
        [[scenario, f"{n:,}", *cells(scenario, n)] for scenario, n in lines],
    )


def notices_page(found: dict[str, list[dict[str, float]]]) -> tuple[str, str]:
    hidden = table(
        ["notices of fraud turned", "frauds detected", "genuine there, per 1,000", "elsewhere"],
        [
            [
                f"{one['share']:.0%}",
                f"{one['detected']:.1%}",
                f"{one['genuine_there_per_1000']:.1f}",
                f"{one['elsewhere_per_1000']:.1f}",
            ]
            for one in found["hidden"]
        ],
    )
    false = table(
        ["notices turned into fraud", "false alerts, per 1,000"],
        [[f"{one['share']:.1%}", f"{one['false_alerts_per_1000']:.1f}"] for one in found["false"]],
    )
    return hidden, false
