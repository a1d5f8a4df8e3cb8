# SPDX-License-Identifier: Apache-2.0
"""What is between two checkpoints of a replay, and where the device is."""

from __future__ import annotations

from dataclasses import dataclass, field

from tinyfin.hil.replay.chunks import Chunk
from tinyfin.hil.replay.compare import Comparer
from tinyfin.hil.replay.sender import Sender, Sent
from tinyfin.wire.messages import WireVerdict

__all__ = ["ChunkReplay", "Standing"]


@dataclass
class ChunkReplay:
    """What is between two checkpoints: what the twin says of it, and how far the device is."""

    chunk: Chunk
    image: bytes | None
    """The state before it; None is cold."""
    first: bool
    """The first of its terminal, whose state has to be set."""
    last: bool
    """The last of its terminal."""
    comparer: Comparer
    state_digest: int
    """The twin's, after it."""
    restarts: frozenset[tuple[int, int]]
    """Where the terminal's clock is set: see :class:`Sender`."""
    sender: Sender
    """Its frames, made beforehand for the first attempt."""
    events_sent: int = 0
    begun: bool = False
    """Whether an answer has come."""
    got: list[tuple[int, WireVerdict]] = field(default_factory=list)
    bad: Sent | None = None
    """The first frame whose answer differs."""
    differing: int = 0
    counted: bool = False
    """Whether its terminal was counted."""
    shown: int = 0
    """Verdicts that ``progress`` has counted, in whichever attempt."""

    def again(self, sender: Sender) -> None:
        """Forget what came: it is sent once more."""
        self.sender, self.events_sent, self.begun = sender, 0, False
        self.got, self.bad, self.differing = [], None, 0


@dataclass
class Standing:
    """What the device has done since its state was last set."""

    digest: int = 0
    scored: int = 0
