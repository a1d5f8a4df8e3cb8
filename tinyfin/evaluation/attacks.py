# SPDX-License-Identifier: Apache-2.0
"""Attacks as a merchant lives them: was it noticed, after how many transactions, and for what
reason; and what looks like an attack and is none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from tinyfin.data.transactions import Transactions
from tinyfin.results.evaluation import ReasonShare, ScenarioFigures, ScenarioReasons

__all__ = ["ATTACK_GAP_S", "EXPECTED_REASONS", "attacks_of", "by_scenario", "reasons_by_scenario"]

ATTACK_GAP_S = 72 * 3600
"""Frauds of one scenario on one terminal belong to one attack up to this distance."""

EXPECTED_REASONS: Mapping[str, tuple[int, ...]] = {
    "card_testing": (2, 8, 10, 11, 12),
    "distraction_refund": (23,),
    "fallback": (17,),
    "forced_post": (26,),
    "offline_burst": (27, 28),
    "split_sale": (3, 7),
    "stolen_terminal": (23, 24),
    "takeover": (15, 18),
}
"""What a person at the till should read of a simulated attack: any one of these reasons."""

Rows = npt.NDArray[np.int64]


def by_scenario(
    tx: Transactions, rows: Rows, action: npt.NDArray[np.uint8]
) -> list[ScenarioFigures]:
    """Per scenario of the data what became of its transactions among ``rows``, in order of codes.

    ``action``: one per row; an alert is any but accept. A scenario without fraud is a hard
    negative: each of its alerts is false.
    """
    if tx.scenario is None or not len(rows):
        return []
    order = np.lexsort((rows, tx.t_mono_s[rows]))
    rows, alert = rows[order], action[order] > 0
    label, terminal = tx.label[rows], tx.terminal[rows]
    t = tx.t_mono_s[rows].astype(np.int64)
    genuine, fraud = label == 0, label == 1
    code = tx.scenario_code[rows]
    out = []
    for number, name in enumerate(tx.scenario):
        mine = code == number
        if not np.any(mine) or not name:
            continue
        row = ScenarioFigures(
            scenario=name,
            transactions=int(np.count_nonzero(mine)),
            terminals=len(np.unique(terminal[mine])),
            frauds=int(np.count_nonzero(mine & fraud)),
            frauds_alerted=int(np.count_nonzero(mine & fraud & alert)),
            genuine=int(np.count_nonzero(mine & genuine)),
            false_alerts=int(np.count_nonzero(mine & genuine & alert)),
        )
        if row.frauds:
            at = np.flatnonzero(mine & fraud)
            until = attacks_of(terminal[at], t[at], alert[at])
            found = [u for u in until if u is not None]
            row.attacks = len(until)
            row.attacks_detected = len(found)
            row.transactions_until_detected_median = float(np.median(found)) if found else None
            row.transactions_until_detected_max = max(found, default=None)
        out.append(row)
    return out


def attacks_of(
    terminal: npt.NDArray[np.int32], t: npt.NDArray[np.int64], alert: npt.NDArray[np.bool_]
) -> list[int | None]:
    """Per attack the number of its frauds up to and with the first alert, or None."""
    order = np.lexsort((np.arange(len(t)), t, terminal))
    found: list[int | None] = []
    last: tuple[int, int] | None = None
    count = 0
    for i in order.tolist():
        here = (int(terminal[i]), int(t[i]))
        if last is None or here[0] != last[0] or here[1] - last[1] > ATTACK_GAP_S:
            found.append(None)
            count = 0
        last = here
        count += 1
        if alert[i] and found[-1] is None:
            found[-1] = count
    return found


def reasons_by_scenario(
    tx: Transactions,
    rows: Rows,
    action: npt.NDArray[np.uint8],
    reasons: npt.NDArray[np.uint16],
    own: Mapping[int, str],
) -> list[ScenarioReasons]:
    """Per scenario with fraud: how often each reason is among the (first three) reasons of an
    alerted fraud, the most frequent first; and how often one of EXPECTED_REASONS is. ``own``:
    texts of reasons of the user's own."""
    if tx.scenario is None:
        return []
    out = []
    fraud = (tx.label[rows] == 1) & (action > 0)
    for number, name in enumerate(tx.scenario):
        mine = np.flatnonzero(fraud & (tx.scenario_code[rows] == number))
        if not len(mine) or not name:
            continue
        seen: Counter[int] = Counter()
        for given in reasons[mine].tolist():
            seen.update({r for r in given if r})
        shares = [ReasonShare(reason=r, share=n / len(mine)) for r, n in seen.most_common()]
        for given in shares:
            if given.reason in own:
                given.text = own[given.reason]
        row = ScenarioReasons(scenario=name, alerted=len(mine), reasons=shares)
        if name in EXPECTED_REASONS:
            told = np.isin(reasons[mine], EXPECTED_REASONS[name]).any(axis=1)
            row.expected, row.told = list(EXPECTED_REASONS[name]), float(np.mean(told))
        out.append(row)
    return out
