# SPDX-License-Identifier: Apache-2.0
"""What an evaluation leaves in the folder of its run."""

from __future__ import annotations

from tinyfin import files
from tinyfin.evaluation.data_card import data_card
from tinyfin.evaluation.doubts import DOUBTED_LABELS, write_doubts
from tinyfin.evaluation.gates import Gate, check
from tinyfin.evaluation.model_card import model_card
from tinyfin.evaluation.page import write_page
from tinyfin.evaluation.workflow import Evaluated
from tinyfin.progress import stage
from tinyfin.training.run_folder import changing_run

__all__ = ["record"]


def record(found: Evaluated, bounds: Gate | None = None) -> tuple[str, str]:
    """Hold the figures against the bounds of a gate, write them, the page, the doubted labels and
    both cards; the texts of model card and data card."""
    facts, run = found.facts, found.run
    if bounds is not None:
        facts.gate = check(facts.as_json(), bounds)
    cards = model_card(facts, run), data_card(facts)
    with changing_run(run) as changed:
        changed.write(facts)
        with stage("drawing the page"):
            write_page(changed.path / "evaluation.html", found)
        if facts.doubts is None:
            (changed.path / DOUBTED_LABELS).unlink(missing_ok=True)
        else:
            write_doubts(changed.path / DOUBTED_LABELS, facts.doubts)
        files.write(changed.path / "MODEL_CARD.md", cards[0])
        files.write(changed.path / "DATA_CARD.md", cards[1])
    return cards
