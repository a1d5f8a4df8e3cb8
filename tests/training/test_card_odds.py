# SPDX-License-Identifier: Apache-2.0
"""The odds of compromised cards: found in a world whose rules are known, from no later label."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.support.cli import tinyfin
from tests.support.transactions import transactions
from tinyfin import HostContext
from tinyfin.config import from_table, load
from tinyfin.config.sections import Risk
from tinyfin.data.readers import read
from tinyfin.data.transactions import EPOCH_UNIX_S, Transactions
from tinyfin.errors import DataError, InputError
from tinyfin.features.expressions import DAY_S
from tinyfin.schema import PAYMENT
from tinyfin.training import compromise
from tinyfin.training.card_odds import CardOdds
from tinyfin.training.host_fields import host_columns, learned_card_odds

DAYS, CARDS, START_S = 100, 150, 500 * DAY_S
UNTIL_S = START_S + 80 * DAY_S
CONFIG = from_table({})


def town(seed: int = 3) -> Transactions:
    """Cards that pay twice a day at 40 terminals; some are compromised for ten days, in which half
    of what they pay is fraud, at terminals that tell nothing. Large amounts are often fraud too."""
    rng = np.random.default_rng(seed)
    n = CARDS * DAYS * 2
    t = np.sort(rng.integers(0, DAYS * DAY_S, n)) + START_S
    card = rng.integers(0, CARDS, n)
    amount = np.where(rng.random(n) < 0.01, 60_000, rng.integers(500, 9_000, n))
    begins = np.where(rng.random(CARDS) < 0.4, rng.integers(0, 90, CARDS), 999) + 500
    since = t // DAY_S - begins[card]
    stolen = (since >= 0) & (since < 10) & (rng.random(n) < 0.5)
    fraud = stolen | ((amount == 60_000) & (rng.random(n) < 0.5))
    values = np.zeros((n, len(PAYMENT.fields)), np.int64)
    values[:, PAYMENT.index("amount_minor")] = amount
    values[:, PAYMENT.index("token")] = card + 1
    return transactions(
        t,
        terminal=rng.integers(0, 40, n).astype(np.int32),
        terminals=tuple(str(i) for i in range(40)),
        values=values,
        present=np.full(n, 1 << PAYMENT.index("amount_minor") | 1 << PAYMENT.index("token")),
        label=fraud,
        label_known_s=t + 7 * DAY_S,
    )


@pytest.fixture(scope="module")
def odds() -> CardOdds:
    return learned_card_odds(town(), CONFIG, UNTIL_S)


def test_how_compromises_of_cards_go_is_found(odds: CardOdds) -> None:
    assert any(7 <= days <= 14 for days, _ in odds.learned.durations)
    assert 0.35 <= 2 ** (odds.learned.share / 64) <= 0.7
    begun = sum(2 ** (prior / 16) for _, prior in odds.learned.durations)
    assert begun == pytest.approx(0.4 / 90, rel=0.5)
    assert "days of a card and lasts" in odds.words
    evidence, event = odds.learned.evidence, odds.learned.odds["amt_log"]
    low, high = (
        evidence.values[np.searchsorted(evidence.cuts, odds.learned.base + add, side="right")]
        for add in (event.values[0], event.values[-1])
    )
    assert high < low, "a large amount explains its fraud"


def test_no_later_label_teaches_and_none_is_needed(odds: CardOdds) -> None:
    tx = town()
    later = tx.label_known_s > UNTIL_S
    flipped = replace(tx, label=np.where(later, 1 - tx.label, tx.label).astype(np.int8))
    assert learned_card_odds(flipped, CONFIG, UNTIL_S) == odds
    known = replace(tx, label=np.where(later, tx.label, 1 - tx.label).astype(np.int8))
    assert learned_card_odds(known, CONFIG, UNTIL_S) != odds, "the control"
    with pytest.raises(DataError, match="no labels of both kinds are known for cards"):
        learned_card_odds(tx, CONFIG, START_S + DAY_S)


def test_no_card_explains_its_own_frauds(monkeypatch: pytest.MonkeyPatch) -> None:
    """The odds with which compromises are found do not depend on labels of the same terminal."""
    rng = np.random.default_rng(6)
    x = rng.integers(0, 100, (4000, 1)).astype(np.int16)
    terminal = rng.integers(0, 20, 4000)
    fraud = rng.random(4000) < np.where(x[:, 0] > 80, 0.3, 0.03)
    own, mine = np.ones(4000, np.bool_), terminal == 7
    args = (own, ["amt_log"], terminal)
    honest = compromise._of_others(x, fraud, *args)
    turned = np.where(mine, ~fraud, fraud)
    assert np.array_equal(compromise._of_others(x, turned, *args)[mine], honest[mine])
    assert len(np.unique(honest)) > 5
    monkeypatch.setattr(compromise, "_FOLDS", 10**6)  # all rows score themselves
    assert not np.array_equal(
        compromise._of_others(x, turned, *args)[mine], compromise._of_others(x, fraud, *args)[mine]
    )


def plain_odds(tx: Transactions, odds: CardOdds, row: int) -> float:
    """256 * log2 odds that the card of a row is compromised then, in floating point, one
    hypothesis after the other."""
    learned, t = odds.learned, int(tx.t_mono_s[row])
    amount, token = tx.column("amount_minor"), tx.column("token")
    known = np.flatnonzero((token == token[row]) & (tx.label_known_s <= t) & (tx.label >= 0))
    says = np.zeros(learned.days)
    for i in known.tolist():
        back = t // DAY_S - int(tx.t_mono_s[i]) // DAY_S
        if back < learned.days:
            table = learned.odds["amt_log"]
            at = round(256 * math.log2(1 + int(amount[i])))
            event = learned.base + table.values[np.searchsorted(table.cuts, at, side="right")]
            cut = np.searchsorted(learned.evidence.cuts, event, side="right")
            fraud = tx.label[i] == 1
            says[back] += learned.evidence.values[cut] if fraud else learned.genuine
    lasts, over = 0.0, 1.0
    for back in range(learned.days):
        for days, prior in learned.durations:
            inside = says[max(0, back - days + 1) : back + 1].sum()
            weight = 2 ** ((prior + inside) / 16)
            lasts, over = (lasts + weight, over) if back < days else (lasts, over + weight)
    return 256 * math.log2(lasts / over)


def test_the_odds_are_those_of_a_plain_calculation_and_tell_stolen_cards(odds: CardOdds) -> None:
    tx = town()
    found = host_columns(tx, odds=odds)["host_card_compromised_odds"]
    rng = np.random.default_rng(2)
    drawn = [rng.choice(np.flatnonzero(some), 75) for some in (found > -500, found < -500)]
    rows = np.concatenate(drawn)
    plain = np.array([plain_odds(tx, odds, row) for row in rows.tolist()])
    # what is no longer remembered of a fraud has the usual evidence, not its own
    assert np.quantile(np.abs(found[rows] - plain), 0.95) < 24
    assert plain.max() > 0 > plain.min()
    after = tx.t_mono_s >= UNTIL_S
    usual = after & (tx.column("amount_minor") < 60_000)
    fraud, genuine = (found[usual & (tx.label == x)] for x in (1, 0))
    # seven of the ten days pass before the first label is known
    assert np.mean(fraud > np.quantile(genuine, 0.95)) > 0.25


def test_the_commands_learn_once_and_read_again(tmp_path: Path) -> None:
    tx, data, out = town(), tmp_path / "cards.csv", tmp_path / "host.parquet"
    lines = ["time,terminal,token,amount_minor,label"]
    columns = (tx.t_mono_s.astype(np.int64) + EPOCH_UNIX_S, tx.terminal, tx.column("token"))
    for row in zip(*(c.tolist() for c in (*columns, tx.values[:, 0], tx.label)), strict=True):
        lines.append(",".join(map(str, row)))
    data.write_text("\n".join(lines) + "\n")
    config, file = tmp_path / "tinyfin.toml", tmp_path / "odds.json"
    config.write_text('[data]\nlabel_delay = "7d"\n')
    words = f"host-fields {data} --config {config} --odds {file}"
    tinyfin(f"{words} --learn-until 2001-08-05 --out {out}")
    learned = CardOdds.read(file)
    assert learned.until == "2001-08-05T00:00:00"
    tinyfin(f"{words} --out {tmp_path}/again.parquet")
    assert pq.read_table(out).equals(pq.read_table(tmp_path / "again.parquet"))
    hosted = tmp_path / "hosted.toml"
    hosted.write_text('[schema]\nextends = "payment_host_odds"\n[data]\nlabel_delay = "7d"\n')
    again = read([out], load(hosted))
    for name, values in host_columns(tx, odds=learned).items():
        assert np.array_equal(again.column(name), values), name
    where = f"host-fields {data} --out {tmp_path}/x.parquet"
    assert "--odds FILE" in tinyfin(f"{where} --learn-until 2001-08-05", code=2).output
    assert (
        "--learn-until 'soon'"
        in tinyfin(f"{where} --odds {file} --learn-until soon", code=3).output
    )
    text = json.loads(file.read_text())
    file.write_text(json.dumps({**text, "format": 2}))
    assert "has format 2" in tinyfin(f"{where} --odds {file}", code=3).output
    assert "has format 2" in tinyfin(f"serve-host --odds {file}", code=3).output


def test_tables_that_no_host_can_feed_are_refused(odds: CardOdds) -> None:
    other = odds.learned.model_copy(update={"odds": {"gap_s": Risk(cuts=[5], values=[0, 9])}})
    with pytest.raises(InputError, match=r"learned\.odds\.gap_s: a host knows amt_log only"):
        HostContext(1, odds=odds.model_copy(update={"learned": other}))
