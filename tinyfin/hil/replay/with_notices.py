# SPDX-License-Identifier: Apache-2.0
"""Pages of notices to a terminal between two replays, and the same notices to the twin."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tinyfin.field.notices import Page
from tinyfin.hil.replay.chunks import Chunk
from tinyfin.hil.replay.compare import Comparer
from tinyfin.hil.replay.sender import Sender
from tinyfin.pack.container import parse_pack
from tinyfin.twin import Replay, Twin
from tinyfin.wire import field_frames
from tinyfin.wire.client import Client
from tinyfin.wire.event_frames import field_types
from tinyfin.wire.messages import parse_verdicts

__all__ = ["Noticed", "replay_with_notices"]

_CLOCK = slice(64, 68)
"""The engine's clock in a state image: docs/formats/program.md."""


@dataclass(frozen=True)
class Noticed:
    """What became of notices. Pages, and transactions after them."""

    notices: int
    fraud: int
    """How many of them say fraud."""
    pages: int
    verdicts: int
    """After the notices."""
    changed: int
    """How many of these differ from those of a twin without the notices."""
    mismatches: int
    """Verdicts in which terminal and twin differ, before the notices too; a state or a digest that
    differs counts as one."""


def replay_with_notices(
    pack: bytes, past: Chunk, pages: Sequence[tuple[Page, bytes]], later: Chunk, client: Client
) -> Noticed:
    """Replay ``past`` on a cold terminal that runs ``pack``, send it the pages, replay ``later``.

    past, later: of one terminal, without notices. client: connected, to a terminal that takes
    state, events and these pages. Raises TargetError, InputError as
    :func:`tinyfin.wire.field_frames.send_notices` does.
    """
    twin, unaware = Twin(pack), Twin(pack)
    client.reset_state()
    mismatches, _ = _replayed(pack, twin, past, client)
    unaware.run(past.tx, past.stream)
    field_frames.send_notices(client, pages)
    now_s = int.from_bytes(twin.export_state(0)[_CLOCK], "little")
    notices = [notice for page, _ in pages for notice in page.notices]
    for x in notices:
        twin.notice(0, x.id, x.token, now_s, x.t_tx_mono_s, x.fraud)
    mismatches += client.checkpoint().state_digest != twin.state_digest(0)
    differing, expected = _replayed(pack, twin, later, client)
    return Noticed(
        notices=len(notices),
        fraud=sum(notice.fraud for notice in notices),
        pages=len(pages),
        verdicts=later.scores,
        changed=_differing(expected, unaware.run(later.tx, later.stream)),
        mismatches=mismatches + differing,
    )


def _replayed(pack: bytes, twin: Twin, chunk: Chunk, client: Client) -> tuple[int, Replay]:
    """Differences on both sides from where their states are, and what the twin computed."""
    expected = twin.run(chunk.tx, chunk.stream)
    comparer = Comparer(expected, bool(twin.output_count))
    comparer.begin(client.checkpoint().digest)
    token = parse_pack(pack).token_field
    sender = Sender(chunk, field_types(pack), client.hello, token, restarts=expected.restarts)
    mismatches = 0
    for answer in client.pipeline(sender.frames()):
        sent = sender.sent.popleft()
        mismatches += comparer.frame(sent, parse_verdicts(answer, len(sent.scored)))
    mismatches += client.checkpoint().state_digest != twin.state_digest(0)
    return mismatches, expected


def _differing(one: Replay, other: Replay) -> int:
    """Verdicts that are not the same."""
    rows = np.zeros(len(one.raw), bool)
    for name in ("score_q32", "raw", "action", "reasons", "reason_count", "flags"):
        rows |= (getattr(one, name) != getattr(other, name)).reshape(len(rows), -1).any(axis=1)
    return int(rows.sum())
