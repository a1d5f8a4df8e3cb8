# SPDX-License-Identifier: Apache-2.0
"""A fleet on one page: what its lake, its campaigns and a registry say up to a day."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from tinyfin.fleet.drift import NOT_YET, FleetDrift, drift_of
from tinyfin.fleet.drift_page import precision_rows, score_figure
from tinyfin.fleet.lake import date_of
from tinyfin.fleet.monitors import ALL, FleetCounts, read_counts
from tinyfin.fleet.publish import LEAST_TERMINALS
from tinyfin.fleet.requests import requests_of
from tinyfin.fleet.tables import day_of
from tinyfin.fleet.views import connect
from tinyfin.monitoring.blocks import lines_figure
from tinyfin.pack.container import Pack
from tinyfin.pages.blocks import Block, code, count, fixed, number, table, text
from tinyfin.pages.render import Headline, PageSection, page
from tinyfin.prometheus.figures import Figures, Sources, figures_of
from tinyfin.registry.registry import moment_text
from tinyfin.results.facts import NAN
from tinyfin.rollout.controller import STOPPED, State
from tinyfin.rollout.members import Stage
from tinyfin.rollout.page import picture
from tinyfin.rollout.store import Campaign, Entry

__all__ = ["WEEKS", "alerts_per_thousand", "render"]

WEEKS = 12
_WEEK_DAYS = 7
_MARKS = {State.DONE: "✓", **dict.fromkeys(STOPPED, "✗"), State.INCONCLUSIVE: "?"}
_ENDED = (State.DRAFT, State.ENDED)
_DRIFTED, _CALM, _UNKNOWN = "▲", "", "-"


def render(sources: Sources) -> str:
    """The HTML; ``sources.day`` is its last day, and equal sources make equal bytes. Raises
    InputError, ToolError."""
    assert sources.day is not None
    found, day = figures_of(sources), sources.day
    campaigns = list(_campaigns(sources, day))
    drifts = [drift_of(sources.lake, pack, day, sources.strata) for pack in sources.packs]
    silent = sum(v for (_, days), v in found.rows("terminals_silent").items() if days == "3")
    terminals = sum(found.rows("terminals").values())
    moved = sum(one.drifted for drift in drifts for one in drift.strata)
    halted = [one.definition.name for one, _, now in campaigns if now in STOPPED]
    asked = sum(one[-1] == "open" for one in _requests(sources, day))
    wrong = [
        *(f"Campaign {name} is halted." for name in halted),
        *([f"{moved} histograms have drifted."] if moved else []),
        *([f"{asked} requests for a candidate are open."] if asked else []),
    ]
    sections = [
        _section(
            "terminals",
            "Terminals",
            _terminals(found),
            "tinyfin fleet metrics LAKE --inventory TERMINALS",
        ),
        _section(
            "campaigns",
            "Campaigns",
            _waves(campaigns),
            "tinyfin fleet campaign status LAKE NAME --page campaign.html",
        ),
        _section(
            "drift",
            "Drift, by feature and stratum",
            [block for drift in drifts for block in _drift(drift)],
            "tinyfin fleet drift LAKE --pack PACK --inventory TERMINALS",
        ),
        _section(
            "alerts",
            "Alerts, and how many of them are right",
            [block for pack in sources.packs for block in _alerts(sources, pack, day)]
            + [block for drift in drifts for block in _precision(drift)],
            "tinyfin fleet drift LAKE --pack PACK --inventory TERMINALS --json",
        ),
        _section(
            "restarts",
            "Restarts and what went wrong",
            _restarts(found),
            'tinyfin fleet query LAKE "SELECT * FROM restart"',
        ),
        _section(
            "registry",
            "Packs, and who answers for them",
            _registry(sources, day),
            f"tinyfin registry at {date_of(day)}",
        ),
    ]
    return page(
        "A fleet",
        subtitle=f"up to {date_of(day)}, by the terminals' reports",
        verdict=Headline(
            "Something needs a person" if wrong else "Nothing needs a person", not wrong, wrong
        ),
        headline=[
            ("terminals", count(terminals)),
            ("silent for three days", count(silent)),
            (
                "campaigns under way",
                count(sum(now not in (*_ENDED, State.DONE) for *_, now in campaigns)),
            ),
            ("open requests", count(asked)),
        ],
        sections=[one for one in sections if len(one.blocks) > 1],
        facts_file="the lake, the log of the campaigns and the registry; each section names its "
        "command",
    )


def _section(ident: str, title: str, blocks: Sequence[Block], command: str) -> PageSection:
    return PageSection(ident, title, [*blocks, code([command])] if blocks else [])


def _few(value: float) -> str:
    return (
        "-"
        if not value
        else f"under {LEAST_TERMINALS}"
        if value < LEAST_TERMINALS
        else count(value)
    )


def _terminals(found: Figures) -> list[Block]:
    by: dict[str, dict[str, float]] = {}
    for (pack, stratum), value in found.rows("terminals").items():
        by.setdefault(stratum, {})[pack] = value
    packs = sorted({pack for of in by.values() for pack in of})
    days = sorted({int(of) for _, of in found.rows("terminals_silent")})
    quiet = found.rows("terminals_silent")
    rows = [
        [
            stratum,
            *(_few(of.get(pack, 0)) for pack in packs),
            *(_few(quiet.get((stratum, str(n)), 0)) for n in days),
        ]
        for stratum, of in sorted(by.items())
    ]
    columns = ["stratum", *(f"pack {p[:8]}" for p in packs), *(f"silent {n} d" for n in days)]
    return [table("Terminals by the pack of their newest report, and those silent", columns, rows)]


def _campaigns(sources: Sources, day: int) -> Iterator[tuple[Campaign, list[Entry], State]]:
    """Campaigns with their log up to the day, and the state that it left them in."""
    if sources.store is None:
        return
    for name in sources.store.names():
        log = [one for one in sources.store.log(name) if day_of(one.hour) <= day]
        if log:
            yield sources.store.campaign(name), log, State(log[-1].result["state"])


def _waves(campaigns: Sequence[tuple[Campaign, list[Entry], State]]) -> list[Block]:
    rows = []
    for campaign, log, now in campaigns:
        last = log[-1].result
        waves = campaign.definition.policy.waves
        stages = [int(last["stages"][stage]) for stage in Stage]
        state = f"{_MARKS.get(now, '…')} {now.replace('_', ' ')}"
        rows.append(
            [campaign.definition.name, state, f"{last['wave'] + 1} of {len(waves)}"]
            + [_few(n) for n in stages]
        )
    if not rows:
        return []
    names = [stage.name.lower().replace("_", " ") for stage in Stage]
    blocks: list[Block] = [table("Members by stage", ["campaign", "state", "wave", *names], rows)]
    for i, (campaign, log, _) in enumerate(campaigns):
        blocks += [
            text(f"{campaign.definition.name}: {log[-1].why or 'as planned'}"),
            *picture(log, f"stages_{i}"),
        ]
    return blocks


def _drift(found: FleetDrift) -> list[Block]:
    names = list(dict.fromkeys(one.histogram for one in found.strata))
    by: dict[str, dict[str, str]] = {}
    for one in found.strata:
        mark = _DRIFTED if one.drifted else _CALM
        shown = _UNKNOWN if one.p_value is None else f"{mark} {fixed(one.stability_index, 2)}"
        by.setdefault(one.of, {})[one.histogram] = shown.strip()
    if not found.comparable:
        return [text(f"Pack {found.pack[:8]}: {NOT_YET}.")]
    rows = [[name, *(of.get(name, _UNKNOWN) for of in by.values())] for name in names]
    caption = (
        f"Pack {found.pack[:8]}: stability index of the newest 7 days against the first 28; "
        f"{_DRIFTED} has drifted, {_UNKNOWN} cannot be said"
    )
    return [
        table(caption, ["histogram", *by], rows),
        score_figure(found, f"score_{found.pack[:8]}"),
    ]


def alerts_per_thousand(
    pack: Pack, counts: FleetCounts, day: int
) -> tuple[list[str], list[float], float] | None:
    """First days of the newest :data:`WEEKS` weeks up to a day, alerts in 1,000 events of each (NaN
    without events), and as many at the release. None where no edge of the score's histogram is the
    alert threshold, or the release did not say."""
    at = None if pack.decision is None else pack.decision.alert_q32
    if pack.drift is None or at not in pack.drift.score.edges:
        return None
    from_bin = pack.drift.score.edges.index(at) + 1
    released = np.array(pack.lineage.get("score_bins", {}).get("rows", ()), np.float64)
    if not released.sum():
        return None
    names, found = [], []
    for week in reversed(range(WEEKS)):
        last = day - _WEEK_DAYS * week
        rows = counts.days(last - _WEEK_DAYS + 1, last)
        bins = counts.counts[rows][:, counts.spans[0]].sum(0, dtype=np.int64)
        names.append(str(date_of(last - _WEEK_DAYS + 1))[5:])
        found.append(1000 * float(bins[from_bin:].sum() / bins.sum()) if bins.sum() else NAN)
    return names, found, 1000 * float(released[from_bin:].sum() / released.sum())


def _alerts(sources: Sources, pack: Pack, day: int) -> list[Block]:
    with connect(sources.lake, day) as base:
        found = alerts_per_thousand(pack, read_counts(base, pack), day)
    name = pack.pack_id.hex()[:8]
    if found is None:
        return [text(f"Pack {name}: its bins of the score do not tell alerts from the rest.")]
    weeks, values, released = found
    caption = "Alerts in 1,000 scored events of a week, and as many on the transactions of release."
    levels = {"at release": released}
    return [
        lines_figure(
            f"alerts_{name}",
            f"Alerts under pack {name}",
            weeks,
            {"alerts": values},
            levels,
            "alerts in 1,000",
            caption,
        )
    ]


def _precision(found: FleetDrift) -> list[Block]:
    rows = [[name, between, promise] for name, between, promise in precision_rows(found)]
    if not rows:
        return [text(f"Pack {found.pack[:8]}: nothing is known of the precision of its alerts.")]
    return [table(f"Pack {found.pack[:8]}", ["", "95 % interval", "to compare"], rows)]


_TROUBLE = ("saturations", "clock_clamps", "pending_overflows", "label_overflows", "frames_damaged")


def _restarts(found: Figures) -> list[Block]:
    scored: dict[str, float] = {}
    for (pack, _), value in found.rows("scored").items():
        scored[pack] = scored.get(pack, 0.0) + value
    causes = sorted({cause for _, cause in found.rows("restarts")})
    rows = []
    for pack, events in sorted(scored.items()):
        of = [found.rows("restarts").get((pack, cause), 0.0) for cause in causes]
        for name in _TROUBLE:
            of.append(sum(v for place, v in found.rows(name).items() if place[0] == pack))
        rate = (number(1000 * value / events, 2) if events else _UNKNOWN for value in of)
        rows.append([f"pack {pack[:8]}", count(events), *rate])
    columns = ["", "scored", *(f"restarts: {c}" for c in causes)]
    columns += [name.replace("_", " ") for name in _TROUBLE]
    return [table("In 1,000 scored transactions, since the lake begins", columns, rows)]


def _registry(sources: Sources, day: int) -> list[Block]:
    if sources.registry is None:
        return []
    state = sources.registry.state(moment_text(str(date_of(day))))
    packs = [
        [
            entry.pack[:8],
            entry.standing,
            ", ".join(one.name for one in entry.validations) or _UNKNOWN,
            ", ".join(one.name for one in entry.approvals) or _UNKNOWN,
            "" if entry.released is None else f"{entry.released.name}, {entry.released.time[:10]}",
        ]
        for entry in state.entries.values()
    ]
    in_service = [
        (p.stage, p.fleet or ALL, p.pack[:8], p.since.time[:10], count(p.since.number))
        for p in state.places.values()
    ]
    blocks: list[Block] = []
    if packs:
        columns = ["pack", "standing", "validated by", "approved by", "released by"]
        blocks.append(table("Packs", columns, packs))
    if in_service:
        columns = ["stage", "fleet", "pack", "since", "by event"]
        blocks.append(table("In service", columns, in_service))
    if rows := _requests(sources, day):
        columns = ["event", "day", "cause", "why", ""]
        blocks.append(table("Requests for a candidate", columns, rows))
    return blocks or [text("By then the registry had no pack and no request.")]


def _requests(sources: Sources, day: int) -> list[list[str]]:
    """Those of the registry up to a day; the last word says whether one is open."""
    if sources.registry is None:
        return []
    until = moment_text(str(date_of(day))) or ""
    return [
        [
            count(one.event.number),
            *(str(one.event.detail[name]) for name in ("day", "cause", "why")),
            "open" if one.answer is None or one.answer.time > until else "answered",
        ]
        for one in requests_of(sources.registry)
        if one.event.time <= until
    ]
