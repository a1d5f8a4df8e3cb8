# SPDX-License-Identifier: Apache-2.0
"""A campaign as an HTML page: members by stage over the days, gates with their bounds, the log."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tinyfin.fleet.lake import date_of
from tinyfin.fleet.tables import day_of
from tinyfin.pages import charts
from tinyfin.pages.blocks import Block, count, figure, number, table, text
from tinyfin.pages.render import Headline, PageSection, page
from tinyfin.rollout.controller import STOPPED, State
from tinyfin.rollout.members import SILENT_STAGES, Stage
from tinyfin.rollout.store import Campaign, Entry

__all__ = ["moment", "picture", "render"]

_SHOWN = {
    "offered": (Stage.OFFERED, Stage.STAGED, Stage.NOT_TAKEN),
    "in shadow": (Stage.SHADOW,),
    "on trial": (Stage.TRIAL,),
    "confirmed": (Stage.CONFIRMED,),
    "fell back": (Stage.FELL_BACK,),
    "silent": SILENT_STAGES,
}


def moment(hour: int) -> str:
    """An hour since 2000-01-01 as a date and time, UTC."""
    return f"{date_of(day_of(hour))} {hour % 24:02d}:00"


def render(campaign: Campaign, log: Sequence[Entry]) -> str:
    """The HTML."""
    now, policy = campaign.rollout.progress, campaign.definition.policy
    sizes = policy.sizes(len(campaign.members))
    waves = [
        (wave.name, count(size), f"{wave.soak_days:g}", _wave_state(i, now.wave, now.state))
        for i, (wave, size) in enumerate(zip(policy.waves, sizes, strict=True))
    ]
    looked = [entry for entry in log if entry.result["gates"]]
    gates = [
        (g["name"], g["state"], number(g["found"]), number(g["bound"]), count(g["n"]), g["text"])
        for g in (looked[-1].result["gates"] if looked else ())
    ]
    places = [(entry.result["state"], entry.result["wave"]) for entry in log]
    events = [
        (moment(one.hour), one.kind, one.who, one.result["state"], one.why)
        for one, place, before in zip(log, places, [None, *places], strict=False)
        if one.kind != "tick" or place != before
    ]
    passed = True if now.state == State.DONE else False if now.state in STOPPED else None
    title = f"{now.state.replace('_', ' ')}: wave {policy.waves[now.wave].name}"
    stages = np.bincount(campaign.rollout.stage, minlength=len(Stage))
    looks: list[Block] = [text("Gates were not looked at yet.")]
    if gates:
        looks = [table("Gates", ["gate", "state", "found", "bound", "n", ""], gates)]
    what = table("Log", ["hour (UTC)", "what", "who", "state", "why"], events)
    passing = table("Waves", ["wave", "members", "soak, days", "state"], waves)
    at = f"Gates, {moment(looked[-1].hour)}" if looked else "Gates"
    return page(
        f"Campaign {campaign.definition.name}",
        subtitle=f"pack {campaign.definition.pack} in place of {campaign.definition.parent}",
        verdict=Headline(title, passed, [now.why] if now.why else []),
        headline=[(name, count(stages[list(which)].sum())) for name, which in _SHOWN.items()],
        sections=[
            PageSection("members", "Members by stage", picture(log)),
            PageSection("waves", "Waves", [passing]),
            PageSection("gates", at, looks),
            PageSection("log", "What happened", [what]),
        ],
        facts_file="the log of the campaign",
    )


def _wave_state(wave: int, now: int, state: State) -> str:
    if wave < now or state == State.DONE:
        return "passed"
    return state.replace("_", " ") if wave == now else "to come"


def picture(log: Sequence[Entry], ident: str = "stages") -> list[Block]:
    """Members by stage over the days."""
    days = {day_of(entry.hour): entry.result["stages"] for entry in log if entry.kind == "tick"}
    if len(days) < 2:
        return [text("The picture begins on the second day.")]
    series = {
        name: [float(sum(stages[one] for one in which)) for stages in days.values()]
        for name, which in _SHOWN.items()
    }
    styles = {name: i for i, name in enumerate(series)}
    said = ", ".join(f"{name} {values[-1]:,.0f}" for name, values in series.items())
    chart = charts.folds(
        ident,
        "Members by stage",
        [str(date_of(day))[5:] for day in days],
        series,
        styles,
        "members",
        f"On the last day: {said}.",
        most=float("inf"),
    )
    return [figure(chart, "Members that were offered the pack.", legend=list(styles.items()))]
