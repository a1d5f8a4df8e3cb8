# SPDX-License-Identifier: Apache-2.0
"""Pass or fail. A replay fails until every check is proven by its own numbers."""

from __future__ import annotations

from collections.abc import Sequence

from tinyfin.hil.replay.facts import ReplayFacts
from tinyfin.pages.render import Check
from tinyfin.results.parity import Parity

__all__ = ["checks", "passed"]


def checks(
    replays: Sequence[ReplayFacts], parity: Parity | None, pack_id: str | None, *, quantized: bool
) -> list[Check]:
    """What was checked. A number that is not there fails its check: of a ``quantized`` run, a
    parity that cannot be read, too."""
    out: list[Check] = []

    def check(name: str, wanted: str, found: int | str | None, ok: bool) -> None:
        out.append(Check(name, wanted, _text(found), ok))

    if not replays:
        check("replay", "at least one target", "nothing was replayed", False)
    for r in replays:
        where = "" if len(replays) == 1 else f"{r.target}: "
        sent, answered = r.transactions, r.verdicts
        check(where + "transactions replayed", "more than 0", sent, (sent or 0) > 0)
        check(
            where + "verdicts",
            "one per transaction",
            answered,
            answered == sent and (answered or 0) > 0,
        )
        names = ", ".join(r.compared or ())
        check(where + "compared", "names of what was compared", names or "nothing", bool(names))
        for name, found in (("mismatches", r.mismatches), ("lost", r.lost)):
            check(where + name, "0", found, found == 0)
        if r.first_mismatch:
            check(where + "first difference", "none", "see below", False)
        same = bool(r.pack) and r.its_pack == r.pack
        check(where + "pack on the target", r.pack or "known", r.its_pack, same)
        if pack_id is not None:
            check(where + "pack of the run", pack_id, r.pack, r.pack == pack_id)
        if r.error:
            check(where + "error", "none", r.error, False)
    if quantized:
        differing = parity.plan.differing_bytes if parity else None
        check("network bytes that differ from TFLM", "0", differing, differing == 0)
    return out


def passed(found: Sequence[Check]) -> bool:
    """True when there are checks and every one is ok."""
    return bool(found) and all(check.ok for check in found)


def _text(value: int | str | None) -> str:
    if value is None:
        return "not reported"
    return f"{value:,}" if isinstance(value, int) else value
