# SPDX-License-Identifier: Apache-2.0
"""Pass or fail. A replay fails until every check is proven by its own numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

__all__ = ["checks", "passed"]


def checks(
    replays: Sequence[Mapping[str, Any]], parity: Mapping[str, Any] | None, pack_id: str | None
) -> list[dict[str, Any]]:
    """What was checked: name, wanted, found, ok. A number that is not there fails its check."""
    out: list[dict[str, Any]] = []

    def check(name: str, wanted: str, found: object, ok: bool) -> None:
        out.append({"name": name, "wanted": wanted, "found": _text(found), "ok": bool(ok)})

    if not replays:
        check("replay", "at least one target", "nothing was replayed", False)
    for replay in replays:
        where = "" if len(replays) == 1 else f"{replay.get('target', 'target')}: "
        sent, answered = replay.get("transactions"), replay.get("verdicts")
        compared = replay.get("compared")
        check(where + "transactions replayed", "more than 0", sent, _whole(sent) and sent > 0)
        check(
            where + "verdicts",
            "one per transaction",
            answered,
            _whole(answered) and answered == sent and answered > 0,
        )
        names = list(compared) if isinstance(compared, (list, tuple)) else []
        check(
            where + "compared",
            "names of what was compared",
            ", ".join(map(str, names)) or "nothing",
            bool(names),
        )
        for name in ("mismatches", "lost"):
            check(where + name, "0", replay.get(name), _zero(replay.get(name)))
        if replay.get("first_mismatch"):
            check(where + "first difference", "none", "see below", False)
        mine, its = replay.get("pack"), replay.get("device_pack", replay.get("pack"))
        check(where + "pack on the target", f"{mine or 'known'}", its, bool(mine) and its == mine)
        if pack_id is not None:
            check(where + "pack of the run", pack_id, mine, mine == pack_id)
        if replay.get("error"):
            check(where + "error", "none", replay["error"], False)
    if parity is not None:
        plan = parity.get("plan")
        found = plan.get("differing_bytes") if isinstance(plan, Mapping) else None
        check("network bytes that differ from TFLM", "0", found, _zero(found))
    return out


def passed(found: Sequence[Mapping[str, Any]]) -> bool:
    """True when there are checks and every one is ok."""
    return bool(found) and all(check["ok"] is True for check in found)


def _whole(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _zero(value: object) -> bool:
    return _whole(value) and value == 0


def _text(value: object) -> str:
    if value is None:
        return "not reported"
    return f"{value:,}" if _whole(value) else str(value)
