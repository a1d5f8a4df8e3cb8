# SPDX-License-Identifier: Apache-2.0
"""A campaign as an HTML page: members by stage over the days, gates with their bounds, the log."""

from __future__ import annotations

from collections.abc import Sequence

from tinyfin.fleet.lake import date_of
from tinyfin.fleet.tables import day_of
from tinyfin.pages import charts
from tinyfin.pages.blocks import Block, count, figure, number, table, text
from tinyfin.pages.render import Headline, PageSection, page
from tinyfin.rollout.controller import STOPPED, State
from tinyfin.rollout.members import Stage
from tinyfin.rollout.store import Campaign, Entry

__all__ = ["moment", "picture", "render"]

_SHOWN = {
    "offered": (Stage.OFFERED, Stage.STAGED, Stage.NOT_TAKEN),
    "in shadow": (Stage.SHADOW,),
    "on trial": (Stage.TRIAL,),
    "confirmed": (Stage.CONFIRMED,),
    "fell back": (Stage.FELL_BACK,),
    "silent": (Stage.SILENT,),
}


def moment(hour: int) -> str:
    """An hour since 2000-01-01 as a date and time, UTC."""
    return f"{date_of(day_of(hour))} {hour % 24:02d}:00"


def render(campaign: Campaign, log: Sequence[Entry]) -> str:
    """The HTML."""
    now, policy = campaign.rollout.progress, campaign.definition.policy
    sizes = policy.sizes(len(campaign.terminals))
    rows = [
        (wave.name, count(size), f"{wave.soak_days:g}", _wave_state(i, now.wave, now.state))
        for i, (wave, size) in enumerate(zip(policy.waves, sizes, strict=True))
    ]
    newest = next((entry for entry in reversed(log) if entry.result["gates"]), None)
    gates = [
        (g.name, g.state, number(g.found), number(g.bound), count(g.n), g.text)
        for g in (newest.gates if newest else ())
    ]
    events = [
        (moment(one.hour), one.kind, one.who, one.result["state"], one.why)
        for i, one in enumerate(log)
        if i == 0 or one.kind != "tick" or _place(one) != _place(log[i - 1])
    ]
    passed = True if now.state == State.DONE else False if now.state in STOPPED else None
    head = Headline(f"{now.state.replace('_', ' ')}: wave {policy.waves[now.wave].name}", passed)
    return page(
        f"Campaign {campaign.definition.name}",
        subtitle=f"pack {campaign.definition.pack} in place of {campaign.definition.parent}",
        verdict=Headline(head.title, passed, [now.why] if now.why else []),
        headline=[
            (name, count(sum(int((campaign.rollout.stage == s).sum()) for s in stages)))
            for name, stages in _SHOWN.items()
        ],
        sections=[
            PageSection("members", "Members by stage", picture(log)),
            PageSection(
                "waves", "Waves", [table("Waves", ["wave", "members", "soak, days", "state"], rows)]
            ),
            PageSection(
                "gates",
                f"Gates, {moment(newest.hour)}" if newest else "Gates",
                [table("Gates", ["gate", "state", "found", "bound", "n", ""], gates)]
                if gates
                else [text("Gates were not looked at yet.")],
            ),
            PageSection(
                "log",
                "What happened",
                [table("Log", ["hour (UTC)", "what", "who", "state", "why"], events)],
            ),
        ],
        facts_file="the log of the campaign",
    )


def _place(entry: Entry) -> tuple[object, object]:
    return entry.result["state"], entry.result["wave"]


def _wave_state(wave: int, now: int, state: State) -> str:
    if wave < now or state == State.DONE:
        return "passed"
    return state.replace("_", " ") if wave == now else "to come"


def picture(log: Sequence[Entry], ident: str = "stages") -> list[Block]:
    """Members by stage over the days."""
    days = {day_of(entry.hour): entry for entry in log if entry.kind == "tick"}
    if len(days) < 2:
        return [text("The picture begins on the second day.")]
    first, last = min(days), max(days)
    known, entries = days[first], []
    for day in range(first, last + 1):  # a day without a change is like the one before it
        known = days.get(day, known)
        entries.append(known.result["stages"])
    series = {
        name: [float(sum(stages[s] for s in which)) for stages in entries]
        for name, which in _SHOWN.items()
    }
    styles = {name: i for i, name in enumerate(series)}
    said = ", ".join(f"{name} {values[-1]:,.0f}" for name, values in series.items())
    names = [str(date_of(day))[5:] for day in range(first, last + 1)]
    chart = charts.folds(
        ident,
        "Members by stage",
        names,
        series,
        styles,
        "members",
        f"On the last day: {said}.",
        most=float("inf"),
    )
    return [figure(chart, "Members that were offered the pack.", legend=list(styles.items()))]
