# SPDX-License-Identifier: Apache-2.0
"""Membership inference: do scores and reasons tell whether a card was among the training rows?

Half of the cards of a town get no labels, so no family is trained on their rows; everything else is
the same for both halves, the features too, because no notice is sent. The attacker has the true
label of each transaction, and asks how well the model knows it (the loss threshold of Yeom,
Giacomelli, Fredrikson and Jha, Privacy Risk in Machine Learning, 2018): members should have the
lower loss. A card has many transactions, so its greatest and its mean loss are tried, and trees on
losses and reasons, fitted on cards whose membership the attacker knows.

The control is a decision tree that is grown until every training row is right, on labels of which
one in ten is wrong: it memorises, and the attack must find that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from benchmarks.attacks.figures import Bools, Floats, Ints, Leak, leak, learned_guess, table
from benchmarks.attacks.town import labelled, learned
from tinyfin import simulator
from tinyfin.config import Simulate
from tinyfin.data.events import event_stream
from tinyfin.data.readers import read
from tinyfin.simulator.attacks import attacks
from tinyfin.simulator.world import mix64
from tinyfin.training.network_inputs import Partition, network_inputs
from tinyfin.twin import Twin

CONFIG = """[data]
notices = "none"
[model]
family = "{family}"
{options}
[evaluate]
baselines = []
"""
OPTIONS = {"mlp": "epochs = 8", "boosted": "", "distilled": "epochs = 8"}
"""Fewer epochs than by default, so that it takes a minute."""
CONTROL = "memorising tree (control)"
MORE = 6.0
"""Times as many frauds as usual, so that there are cards with fraud to ask about."""
_WRONG_LABELS = 0.1
_REASONS = 32


def per_card(values: Floats, card: Ints) -> dict[str, Floats]:
    """Of n rows: greatest, mean and number per card, in order of cards."""
    cards, which = np.unique(card, return_inverse=True)
    count = np.bincount(which).astype(np.float64)
    greatest = np.full(len(cards), -np.inf)
    np.maximum.at(greatest, which, values)
    return {"max": greatest, "mean": np.bincount(which, values) / count, "count": count}


def attack(
    loss: Floats, fraud: Bools, card: Ints, member: Bools, seed: int, told: Floats | None = None
) -> dict[str, Leak]:
    """Leaks of the attacks. ``loss`` float64[n], ``fraud`` bool[n], ``card`` int64[n], ``member``
    bool[n], the same for all rows of a card; ``told`` float64[n, k]: what else a verdict says."""
    cards, first = np.unique(card, return_index=True)
    truth = member[first]
    of_card = per_card(loss, card)
    columns = [of_card["max"], of_card["mean"], of_card["count"]]
    if told is not None:
        columns += [per_card(column, card)["mean"] for column in told.T]
    trees = learned_guess(np.column_stack(columns), truth, cards, seed)
    hit = per_card(fraud.astype(np.float64), card)["max"] > 0
    return {
        "greatest loss": leak(-of_card["max"], truth, cards, seed),
        "greatest loss, cards with fraud": leak(-of_card["max"][hit], truth[hit], cards[hit], seed),
        "mean loss": leak(-of_card["mean"], truth, cards, seed),
        "losses and reasons": leak(trees, truth, cards, seed),
    }


def losses(probability: Floats, fraud: Bools) -> Floats:
    """-log of what the model gives the true label."""
    p = np.clip(np.where(fraud, probability, 1 - probability), 1e-9, 1.0)
    return np.asarray(-np.log(p))


def measure(
    folder: Path, seed: int, *, terminals: int, days: int, families: Sequence[str] = tuple(OPTIONS)
) -> dict[str, dict[str, Leak]]:
    """Leaks by family, and of the control."""
    more = {name: MORE for name, one in attacks().items() if one.label == 1 and not one.on_demand}
    town = simulator.simulate(Simulate(terminals=terminals, days=days, seed=seed, attacks=more))
    token = town.column("token").to_numpy()
    member = mix64(seed, token.view(np.int64)) % np.uint64(2) == 0
    label = town.column("label").to_numpy()
    fraud = label == 1
    data = labelled(town, label, member)
    out: dict[str, dict[str, Leak]] = {}
    for family in families:
        text = CONFIG.format(family=family, options=OPTIONS[family])
        run = learned(data, text, folder, family)
        config, span = run.config(), Partition.of(run)
        tx = read(data, config)
        fitted = _rows(tx.t_mono_s.astype(np.int64), span)
        replay = Twin(run.pack_bytes(), terminals=len(tx.terminals)).run(
            tx, event_stream(tx, config.data.notices)
        )
        probability = (replay.score_q32.astype(np.float64) + 0.5) / 2.0**32
        loss = losses(probability, fraud)
        reasons = np.zeros((len(tx), _REASONS))
        for column in replay.reasons.T:
            reasons[np.arange(len(tx)), np.minimum(column, _REASONS - 1)] = 1
        told = np.column_stack([replay.action > 0, reasons])
        card = token.view(np.int64)
        out[family] = attack(
            loss[fitted], fraud[fitted], card[fitted], member[fitted], seed, told[fitted]
        )
        if CONTROL not in out:
            path = folder / "members.parquet"
            simulator.write(data, path)
            codes = network_inputs(run, [path]).codes
            out[CONTROL] = control(codes[fitted], fraud[fitted], card[fitted], member[fitted], seed)
    return dict(sorted(out.items(), key=lambda item: item[0] == CONTROL))


def control(
    codes: np.ndarray, fraud: Bools, card: Ints, member: Bools, seed: int
) -> dict[str, Leak]:
    """The attack on a decision tree that memorises the rows of members; ``codes`` int8[n, F]."""
    from sklearn.tree import DecisionTreeClassifier

    wrong = np.random.default_rng(seed).random(len(fraud)) < _WRONG_LABELS
    said = fraud ^ wrong
    tree = DecisionTreeClassifier(random_state=seed).fit(codes[member], said[member])
    return attack(losses(tree.predict_proba(codes)[:, 1], said), fraud, card, member, seed)


def _rows(time_s: Ints, span: Partition) -> Bools:
    """The time in which the families fit their weights."""
    return (time_s >= span.since_s) & (time_s < span.validation_s)


def page(found: Mapping[str, Mapping[str, Leak]]) -> str:
    return table(
        ["model", "attack", "cards", "advantage", "area under the ROC curve"],
        [
            [model, name, f"{one.groups:,}", *one.cells()]
            for model, leaks in found.items()
            for name, one in leaks.items()
        ],
    )
