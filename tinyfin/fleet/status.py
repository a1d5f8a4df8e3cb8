# SPDX-License-Identifier: Apache-2.0
"""What a lake holds, in a few figures."""

from __future__ import annotations

from tinyfin.fleet.admission import kept_aside
from tinyfin.fleet.durable import entries
from tinyfin.fleet.lake import Lake
from tinyfin.fleet.packs import known_packs
from tinyfin.fleet.views import connect, rows_of

__all__ = ["status_of"]

_NOTICES = """
    SELECT pack, sum(scored) AS scored, sum(notices) AS notices FROM terminal_day
    WHERE pack IS NOT NULL GROUP BY pack ORDER BY pack
"""


def status_of(lake: Lake) -> dict[str, object]:
    """Days, terminals, reports; refused ones by reason; by pack the notices that came for each
    scored transaction, and those that training assumed; within how many days nine of ten labels
    became known, and from which day on they are not mature. Raises ToolError, InputError."""
    with connect(lake) as base:
        whole = rows_of(
            base,
            "SELECT min(day) AS first_day, max(day) FILTER (day <= as_of) AS last_day, "
            "count(*) AS reports, count(DISTINCT terminal) AS terminals "
            "FROM increment CROSS JOIN maturity",
        )[0]
        packs = rows_of(base, _NOTICES)
        horizon = rows_of(base, "SELECT horizon_h FROM maturity")[0]["horizon_h"]
        labels = rows_of(base, "SELECT count(*) AS n FROM label_now")[0]["n"]
        immature = rows_of(base, "SELECT min(day) AS day FROM notice_day WHERE NOT mature")[0]
    assumed = known_packs(lake)
    notices: dict[str, object] = {}
    delays: dict[str, object] = {}
    for row in packs:
        share = row["notices"] / row["scored"] if row["scored"] else None
        known = assumed.get(row["pack"])
        notices[row["pack"]] = _against(share, None if known is None else known.notice_share)
        if known is not None and horizon is not None:
            delays[row["pack"]] = _against(horizon / 24, known.label_delay_days)
    return {
        **whole,
        "waiting": len(entries(lake.inbox)) + len(entries(lake.path / "claimed")),
        "kept_aside": dict(kept_aside(lake)),
        "erased": len(lake.settings.erased),
        "labels": labels,
        "label_delay_days": None if horizon is None else horizon / 24,
        "immature_from": immature["day"],
        "notice_share": notices,
        "notice_delay_days": delays,
    }


def _against(came: float | None, assumed: float | None) -> dict[str, float | None]:
    return {"came": came, "training": assumed}
