# SPDX-License-Identifier: Apache-2.0
"""A label that changes reaches a terminal as it reaches the twin: first the one, then the other."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.support import sample
from tinyfin.data.events import NOTICE
from tinyfin.data.transactions import Revised, Transactions
from tinyfin.wire.client import Client
from tinyfin.wire.event_frames import EventsFrame

pytestmark = pytest.mark.live


def changing() -> Transactions:
    """The sample's transactions: all labels are known after three hours, a quarter of them was
    another one before, and some of these yet another."""
    tx = sample.make_transactions()
    order = np.argsort(tx.row)
    rows = order[::4]
    twice = rows[::2]
    row = np.r_[rows, twice]
    known = np.r_[tx.t_mono_s[rows] + 3600, tx.t_mono_s[twice] + 1800]
    said = np.r_[1 - tx.label[rows], tx.label[twice]]
    order = np.lexsort((known, tx.row[row]))
    revised = Revised(
        tx.row[row[order]], said[order].astype(np.int8), known[order].astype(np.uint32)
    )
    return replace(tx, label_known_s=tx.t_mono_s + np.uint32(3 * 3600), revised=revised)


def test_a_label_that_changes_is_sent_as_it_is_known(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    tx = changing()
    kinds = sample.make_stream(tx).kind
    assert {NOTICE, NOTICE + 1, NOTICE + 2} <= set(kinds.tolist())
    sample.replayed(client, tx=tx, limit=300).check()
    # control: a sender that always says the last label
    final = dict(zip(tx.id.tolist(), (tx.label == 1).tolist(), strict=True))
    notice = EventsFrame.notice
    monkeypatch.setattr(
        EventsFrame,
        "notice",
        lambda frame, id, token, t, t_tx, fraud: notice(frame, id, token, t, t_tx, final[id]),
    )
    assert sample.replayed(client, tx=tx, limit=300).mismatches > 0
