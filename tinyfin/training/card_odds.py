# SPDX-License-Identifier: Apache-2.0
"""The odds that a card is compromised, as an authorisation host learns them.

What :mod:`tinyfin.training.compromise` fits to the labels of terminals is fitted to those of cards
at all terminals. An event's odds of fraud follow from its amount alone: what is unusual for the
card is what a compromise looks like, so it must not explain a fraud away.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import ClassVar

import numpy as np

from tinyfin.config import Config
from tinyfin.config.sections import Compromise
from tinyfin.data.transactions import Transactions, format_time
from tinyfin.documents import Document
from tinyfin.errors import DataError, InputError
from tinyfin.features.catalogue import BY_NAME
from tinyfin.features.compromise import compromise_expressions
from tinyfin.features.definition import Feature
from tinyfin.training.compromise import fit_compromise
from tinyfin.training.split import known_labels

__all__ = ["CardOdds", "learn_card_odds"]

_INPUTS = (BY_NAME["amt_log"],)
_OUTPUTS = ("compromised_odds", "compromised_ever_odds")
_DAYS, _REMEMBERED = 24, 4
"""Of labels that are read, and events that are remembered: 68 bytes a card."""


class CardOdds(Document):
    """What a host learned of compromised cards."""

    NAME: ClassVar[str] = "card_odds.json"
    until: str
    """Labels that were known by then were learned from."""
    words: str
    """How compromises of cards go."""
    learned: Compromise

    def features(self) -> list[Feature]:
        """The two odds, for an engine that has the card in the terminal's place. Raises InputError
        for tables over other features than the host knows."""
        inputs = {feature.name: feature.expression for feature in _INPUTS}
        if unknown := sorted(set(self.learned.odds) - set(inputs)):
            raise InputError(
                f"learned.odds.{unknown[0]}: a host knows {', '.join(inputs)} only; learn the odds "
                "of cards again"
            )
        made = compromise_expressions(self.learned, inputs)
        return [
            replace(BY_NAME[name], id=0xF100 + i, expression=made[name])
            for i, name in enumerate(_OUTPUTS)
        ]


def learn_card_odds(
    cards: Transactions,
    config: Config,
    until_s: int,
    capacities: dict[str, int],
    *,
    note: Callable[[str], None] = lambda _: None,
) -> CardOdds:
    """What labels known at ``until_s`` say of cards, each in a terminal's place in ``cards``.

    Raises DataError where there are no labels of both kinds by then.
    """
    fit = np.flatnonzero(cards.t_mono_s < until_s)
    label = known_labels(cards, until_s)[fit]
    rows = fit[label >= 0]
    fraud = label[label >= 0] == 1
    if not fraud.any() or fraud.all():
        raise DataError(
            f"by {format_time(until_s)} no labels of both kinds are known for cards; the odds of "
            "compromised cards need some: choose a later time, or map the label"
        )
    of_a_card = config.features.model_copy(update=capacities)
    learned, words = fit_compromise(
        replace(config, features=of_a_card),
        cards,
        _INPUTS,
        fit,
        rows,
        fraud,
        whose="card",
        days=_DAYS,
        remembered=_REMEMBERED,
    )
    note(f"compromised cards: {words}")
    return CardOdds(until=format_time(until_s), words=words, learned=learned)
