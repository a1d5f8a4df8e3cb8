# SPDX-License-Identifier: Apache-2.0
"""One terminal of a twin, with the oracle's calls."""

from __future__ import annotations

from collections.abc import Sequence

from tinyfin.schema import Schema
from tinyfin.twin import Twin, Verdict


class TwinTerminal:
    """The second of two terminals; the first must stay as cold as it began."""

    def __init__(self, pack: bytes, schema: Schema | None = None) -> None:
        self.twin = Twin(pack, terminals=2, restarts=False)
        self._cold = self.twin.export_state(0)

    def score(
        self, id: int, t_mono_s: int, t_local_s: int, values: Sequence[int], present: int
    ) -> Verdict:
        patterns = [(value + 2**63) % 2**64 - 2**63 for value in values]
        return self.twin.score(1, id, t_mono_s, t_local_s, patterns, present)

    def outcome(self, id: int, t_mono_s: int, result: int, response: int, action_taken: int) -> int:
        return self.twin.outcome(1, id, t_mono_s, result, response, action_taken)

    def notice(self, id: int, token: int, t_mono_s: int, t_tx_mono_s: int, fraud: int) -> int:
        return self.twin.notice(1, id, token, t_mono_s, t_tx_mono_s, fraud)

    def erase_card(self, token: int) -> None:
        self.twin.erase_card(1, token)

    def rebase_time(self, t_mono_s: int) -> int:
        return self.twin.rebase_time(1, t_mono_s)

    def features(self) -> tuple[int, ...]:
        return tuple(int(x) for x in self.twin.features(1))

    def stats(self) -> dict[str, int]:
        return self.twin.stats(1)

    def state_digest(self) -> int:
        return self.twin.state_digest(1)

    def export_state(self) -> bytes:
        assert self.twin.export_state(0) == self._cold, "one terminal changed another"
        return self.twin.export_state(1)

    def import_state(self, image: bytes) -> None:
        self.twin.import_state(1, image)
