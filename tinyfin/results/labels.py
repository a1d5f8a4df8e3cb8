# SPDX-License-Identifier: Apache-2.0
"""What became of the rows of files of labels."""

from __future__ import annotations

from tinyfin.results.facts import Facts

__all__ = ["LabelFileFacts"]


class LabelFileFacts(Facts):
    """The rows of one file of [labels], each in one count."""

    name: str
    file: str
    taken: int
    """Rows whose label was taken, those that say it once more among them."""
    repeated: int
    """Of these, rows that say what was known already."""
    silent: int
    """Rows without a label."""
    outside: int
    """Rows about other times than those of the transactions."""
    unmatched: int
    ambiguous: int
    """Rows that match several transactions."""
    contradictory: int
    """Rows that another one contradicts, known at the same moment."""
    early: int
    """Rows that were known before their transaction."""
    incomplete: int
    """Rows that lack what they are joined by, or cannot be read."""

    @property
    def not_taken(self) -> int:
        """Rows that should have been taken."""
        return self.unmatched + self.ambiguous + self.contradictory + self.early + self.incomplete
