# SPDX-License-Identifier: Apache-2.0
"""What keeps a retraining from learning what somebody wants it to learn, and shows how well.

* *Control events* keep a model from being blind to what the one before it has stopped.
* *A cap* on the weight of a terminal: who owns one writes at most that share of the training.
* *Influence*: the model again without a terminal (deletion of cases: R. Cook, Technometrics 19,
  1977; of groups of them: P. Koh et al., NeurIPS 2019), for the terminals with the most frauds.
* *Label flips*: the model again with some labels on other rows, the weakest attack of B. Biggio,
  B. Nelson and P. Laskov, "Support Vector Machines Under Adversarial Label Noise" (ACML 2011).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from tinyfin.data.transactions import ACTIONS, Transactions
from tinyfin.pack.decision import Decision
from tinyfin.progress import stage
from tinyfin.results.retraining import LabelFlips, TerminalCap, TerminalInfluence
from tinyfin.training.split import Split, known_labels
from tinyfin.training.validation_score import validation_score
from tinyfin.training.workflow import Begun

__all__ = ["FLIPPED", "MOST_SHARE", "capped", "control_rows", "sensitivity"]

MOST_SHARE, EQUAL_SHARES = 0.01, 3
"""Of the rows of a training that one terminal may give; or so many equal shares, where terminals
are few."""
FLIPPED = 0.1
"""Share of the frauds."""

Rows = npt.NDArray[np.int64]


def control_rows(tx: Transactions, decision: Decision, until_s: int) -> int:
    """Labelled transactions before ``until_s`` that are control events by a pack's decision, and
    that the terminal did not decline."""
    known = known_labels(tx, until_s) >= 0
    kept = (tx.t_mono_s < until_s) & known & (tx.action != ACTIONS.index("decline"))
    return int(np.count_nonzero(kept & decision.control(tx.id)))


def capped(tx: Transactions, split: Split, seed: int) -> tuple[Split, TerminalCap]:
    """The split with at most :data:`MOST_SHARE` of the frauds, and of the other rows, of fit and
    validation from one terminal; what is more is left out at random."""
    label = known_labels(tx, split.until_s)
    rng = np.random.default_rng(seed)
    over, kept, shares = set[int](), {}, []
    for name in ("fit", "validation"):
        rows: Rows = getattr(split, name)
        parts = []
        for part in (rows[label[rows] == 1], rows[label[rows] != 1]):
            counts = np.bincount(tx.terminal[part], minlength=len(tx.terminals))
            equal = EQUAL_SHARES / max(int(np.count_nonzero(counts)), 1)
            shares.append(min(max(MOST_SHARE, equal), 1.0))
            most = _most(counts, shares[-1])
            shuffled = rng.permutation(part)
            order = shuffled[np.argsort(tx.terminal[shuffled], kind="stable")]
            first = np.cumsum(counts) - counts
            rank = np.arange(len(order)) - first[tx.terminal[order]]
            parts.append(order[rank < most])
            over.update(np.flatnonzero(counts > most).tolist())
        kept[name] = np.sort(np.concatenate(parts))
        kept[name] = rows[np.isin(rows, kept[name])]  # in order of time
    before = np.concatenate([split.fit, split.validation])
    gone = np.setdiff1d(before, np.concatenate([kept["fit"], kept["validation"]]))
    frauds = int(np.count_nonzero(label[gone] == 1))
    facts = TerminalCap(
        share=shares[1], fraud_share=shares[0], terminals=len(over), rows=len(gone), frauds=frauds
    )
    return replace(split, fit=kept["fit"], validation=kept["validation"]), facts


def _most(counts: npt.NDArray[np.int64], share: float) -> int:
    """The most rows per terminal that are at most this share of what is left."""
    most, before = int(counts.max(initial=0)), -1
    while most != before:
        before, most = most, min(most, int(share * np.minimum(counts, most).sum()))
    return max(most, 1)


def sensitivity(begun: Begun, terminals: int) -> tuple[float, list[TerminalInfluence], LabelFlips]:
    """Average precision on the validation rows, that without each of the ``terminals`` with the
    most frauds to fit on, and that with labels flipped: a training for each."""
    tx, split, config = begun.dataset.tx, begun.split, begun.config
    label = known_labels(tx, split.until_s)
    made = begun.dataset.featured(config, split)
    own = tx.terminal[split.fit]
    frauds = np.bincount(own[label[split.fit] == 1], minlength=len(tx.terminals))
    order = np.argsort(-frauds, kind="stable")[:terminals]
    found = []
    with stage("influence of terminals and labels", len(order) + 2) as done:
        whole = validation_score(begun.dataset, split, config, made)
        done.step()
        for one in order.tolist():
            without = replace(split, fit=split.fit[own != one])
            found.append(
                TerminalInfluence(
                    terminal=tx.terminals[one],
                    rows=int(np.count_nonzero(own == one)),
                    frauds=int(frauds[one]),
                    average_precision=validation_score(begun.dataset, without, config, made),
                )
            )
            done.step()
        rng, flipped = np.random.default_rng(config.model.seed), label.copy()
        bad, good = (split.fit[label[split.fit] == kind] for kind in (1, 0))
        moved = round(FLIPPED * len(bad))
        flipped[rng.choice(bad, moved, replace=False)] = 0
        flipped[rng.choice(good, min(moved, len(good)), replace=False)] = 1
        score = validation_score(begun.dataset, split, config, made, flipped)
    return whole, found, LabelFlips(share=FLIPPED, average_precision=score)
