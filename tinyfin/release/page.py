# SPDX-License-Identifier: Apache-2.0
"""What was found as an HTML page and as Markdown: the same words, the page with pictures."""

from __future__ import annotations

from pathlib import Path

from tinyfin.pages import charts
from tinyfin.pages.blocks import Block, count, figure, fixed, number, percent, spread, table, text
from tinyfin.pages.markdown import as_markdown, readable
from tinyfin.pages.render import Headline, PageSection, page
from tinyfin.release.bounds import WANTED
from tinyfin.results.comparison import Pair
from tinyfin.results.release import ProbationFacts, Release, TrialBounds

__all__ = ["duration", "markdown", "promise_text", "refusal_text", "render", "verdict_lines"]

_NAMES = {
    "average_precision": "average precision",
    "roc_auc": "area under the ROC curve",
    "recall_at_0.1%": "recall at 0.1 % false alerts",
    "recall": "recall",
    "precision": "precision",
    "false_alerts_per_1000": "false alerts per 1,000 genuine",
    "value_detected": "value detected",
    "savings": "savings",
}


def render(found: Release) -> str:
    """The HTML."""
    data = found.data
    headline = []
    if "average_precision" in found.figures:
        pair = found.figures["average_precision"]
        headline += [("average precision", fixed(pair.b)), ("the parent's", fixed(pair.a))]
    elif found.labels is not None:
        headline.append(("average precision", fixed(found.labels.average_precision.value)))
    if found.parent is not None:
        headline.append(("decisions that change, per 1,000", number(_per_1000(found))))
    if found.probation is not None:
        headline.append(("healthy terminals refused, at most", _share(found.probation)))
        headline.append(("probation takes", duration(found.probation)))
    return page(
        f"{found.run}: release",
        subtitle=f"{data.rows:,} transactions of {data.terminals:,} terminals, {data.from_[:10]} "
        f"to {data.to[:10]} · pack {found.candidate.pack_id[:8]}"
        + ("" if found.parent is None else f" in the place of {found.parent.pack_id[:8]}"),
        verdict=Headline(_title(found), found.state == "released", verdict_lines(found)),
        headline=headline,
        sections=_sections(found),
        facts_file="release.json",
    )


def markdown(found: Release) -> str:
    """The same as Markdown, without the pictures."""
    lines = [f"# {found.run}: {_title(found)}", ""]
    lines += [line for said in verdict_lines(found) for line in (f"* {said}", "")]
    for section in _sections(found):
        lines += [f"## {section.title}", "", *as_markdown(section.blocks)]
    return readable(lines)


def verdict_lines(found: Release) -> list[str]:
    """What the candidate breaks, and what was allowed."""
    lines = [
        f"{one.rule}{', allowed' if one.allowed else ''}: {one.text}." for one in found.objections
    ]
    return lines or ["It breaks no rule."]


def refusal_text(found: Release, run: Path, place: Path) -> str:
    """What to say of a candidate that is refused, whose page is in ``place``."""
    broken = ", ".join(one.rule for one in found.objections if not one.allowed)
    return f"{run}: not released: {broken}; see {place / 'release.html'}"


def promise_text(found: ProbationFacts) -> str:
    """A sentence on how many healthy terminals the bounds refuse."""
    return (
        f"At most {_share(found)} of healthy terminals are refused in shadow, all looks together "
        f"({_basis(found)})."
    )


def duration(found: ProbationFacts) -> str:
    """Events of shadow and trial, and days on the median terminal."""
    events = (found.looks[-1].events if found.shadow else 0) + (
        found.trial.events if found.trial else 0
    )
    return f"{events:,} events, {number(found.days, 2)} days"


def _title(found: Release) -> str:
    return "Released" if found.state == "released" else "Refused"


def _share(found: ProbationFacts | TrialBounds) -> str:
    return f"{100 * found.refused_at_most:.2g} %"


def _basis(found: ProbationFacts | TrialBounds) -> str:
    shown = f"95 % confidence, by the largest of {found.terminals:,} terminals with so many events"
    aim = f"; the aim is {100 * WANTED:.2g} %, by their tail carried on, which they cannot show"
    return shown + (aim if found.extrapolated else "")


def _per_1000(found: Release) -> float:
    return 1000 * found.changed / found.data.rows


def _sections(found: Release) -> list[PageSection]:
    out = [PageSection("packs", "Packs", _packs(found))]
    if found.labels is not None:
        out.append(PageSection("detection", "Detection", _detection(found)))
    if found.parent is not None:
        out.append(PageSection("decisions", "Decisions that change", _decisions(found)))
    if found.probation is not None:
        out.append(PageSection("probation", "Probation", _probation(found.probation)))
    return out


def _packs(found: Release) -> list[Block]:
    packs = [("candidate", found.candidate)]
    packs += [] if found.parent is None else [("parent", found.parent)]
    rows = [
        [name, *(getattr(pack, key) for _, pack in packs)]
        for name, key in (("pack", "pack_id"), ("model", "model_id"), ("family", "family"))
    ]
    rows = [[row[0], *(cell[:16] for cell in row[1:])] for row in rows]
    rows.insert(1, ["signed by key", *(pack.signed_by for _, pack in packs)])
    rows += [
        [name, *(count(getattr(pack, key)) for _, pack in packs)]
        for name, key in (
            ("bytes", "bytes"),
            ("of them the network", "plan_bytes"),
            ("multiplications of a verdict", "multiplications"),
            ("bytes of state", "state_bytes"),
            ("security counter", "security_counter"),
        )
    ]
    out: list[Block] = [table("Both packs", ["", *(name for name, _ in packs)], rows)]
    own = f"Evaluation and cards speak of the run's own pack {found.run_pack[:16]}, the same model."
    out.append(text(own))
    if found.sections:
        added = ", ".join(f"{tag} {size}" for tag, size in found.sections.items())
        out.append(text(f"Bytes of the sections that the release added: {added}."))
    if found.costs:
        rows = [
            [one.target, *_pair_cells(one.flash_bytes, 0), *_pair_cells(one.instructions_median, 0)]
            for one in found.costs
        ]
        head = ["target", "flash, parent", "candidate", "more"]
        head += ["instructions, parent", "candidate", "more"]
        out.append(table("On targets: bytes of the image, median instructions", head, rows))
    return out


def _pair_cells(pair: Pair, decimals: int = 3) -> list[str]:
    return [fixed(pair.a, decimals), fixed(pair.b, decimals), fixed(pair.difference, decimals)]


def _detection(found: Release) -> list[Block]:
    labels = found.labels
    assert labels is not None
    out: list[Block] = [
        text(
            f"{labels.rows:,} labels are known and old enough, {labels.frauds:,} of them fraud. "
            f"Intervals resample {labels.drawn}."
        )
    ]
    if found.figures:
        rows = [
            [
                _NAMES.get(name, name),
                *_pair_cells(pair),
                "" if pair.interval is None else spread(*pair.interval),
            ]
            for name, pair in found.figures.items()
        ]
        head = ["figure", "parent", "candidate", "difference", "95 % interval"]
        out.append(table("On the same transactions", head, rows))
    rows = []
    if labels.frauds_promised is not None:
        promised = labels.frauds_promised
        rows.append(
            [
                "frauds",
                count(promised.observed),
                f"{promised.expected:,.1f}",
                spread(promised.low, promised.high, 1),
            ]
        )
    for action, rate in labels.false_alerts_per_1000.items():
        name = f"false alerts per 1,000 genuine, {action.replace('_', ' ')}"
        rows.append([name, number(rate.value), number(rate.expected), spread(*rate.interval, 2)])
    if rows:
        head = ["candidate", "found", "promised or budget", "95 % interval"]
        out.append(table("What it promises", head, rows))
    return out


def _decisions(found: Release) -> list[Block]:
    out: list[Block] = [
        text(
            f"{found.changed:,} of {found.data.rows:,} decisions change, "
            f"{number(_per_1000(found))} per 1,000."
        )
    ]
    if not found.changes:
        return out
    rows = [
        [
            f"{one.a} → {one.b}",
            count(one.genuine),
            count(one.fraud),
            count(one.unknown),
            number(1000 * (one.genuine + one.fraud + one.unknown) / found.data.rows),
        ]
        for one in found.changes
    ]
    head = ["from the parent's → to the candidate's", "genuine", "fraud", "unknown", "per 1,000"]
    out.append(table("By action", head, rows))
    if found.groups:
        bars = [
            (
                f"{one.value}: {one.changed:,} of {one.rows:,}",
                one.per_1000,
                f"{number(one.per_1000)} per 1,000",
            )
            for one in found.groups
        ]
        said = "Merchant categories with the most changed decisions"
        rows = [
            [one.value, count(one.rows), count(one.changed), number(one.per_1000)]
            for one in found.groups
        ]
        head = ["merchant category", "transactions", "changed", "per 1,000"]
        out.append(
            figure(
                charts.horizontal_bars("groups", said, bars),
                f"{said}: share of their decisions that change.",
            )
        )
        out.append(table(said, head, rows))
    return out


def _probation(found: ProbationFacts) -> list[Block]:
    by_itself = {True: "by itself", False: "by command"}
    how = (
        f"It goes from shadow to trial {by_itself[found.auto_trial]} and confirms itself "
        f"{by_itself[found.auto_confirm]}."
        if found.shadow
        else "The parent has another feature program: the pack goes on trial at once, with a cold "
        "state, and only the bounds of the trial are used."
    )
    if found.own_state:
        how = (
            "The parent has another feature program: the shadow has a state of its own, which "
            "begins cold and goes on into the trial; a terminal without memory for it begins the "
            f"trial at once, with a cold state. {how}"
        )
    how = how.replace("confirms itself by itself", "confirms itself")
    how = how.replace("confirms itself by command", "is confirmed by command")
    out: list[Block] = [
        text(
            f"{promise_text(found) + ' ' if found.shadow else ''}{how} It takes "
            f"{duration(found)} on a terminal with the median of events."
        )
    ]
    names = ["below 50 %", "50 to 80 %", "80 to 95 %", "95 % and above"]
    total = sum(map(sum, found.table)) or 1
    rows = [
        [name, *(f"{100 * cell / total:.2f} %" for cell in row)]
        for name, row in zip(names, found.table, strict=True)
    ]
    out.append(
        table(
            "Parent's score (row) against the candidate's", ["of each one's scores", *names], rows
        )
    )
    rows = []
    for look in found.looks:
        index = look.psi_q10 / 1024, look.median[2] / 1024, look.largest[2] / 1024
        bounds = (look.far, look.differ)
        for i, what in enumerate(("two or three bins apart", "in other bins")):
            rows.append(
                [
                    f"{look.events} events: {what}",
                    count(bounds[i]),
                    number(look.median[i]),
                    count(look.largest[i]),
                ]
            )
        rows.append([f"{look.events} events: stability index", *(fixed(x) for x in index)])
    out.append(table("Bounds of the shadow", ["after", "at most", "median", "largest"], rows))
    out.append(
        text(
            f"Alerts may be at most {number(found.alerts_factor)} times the parent's and "
            f"{found.alerts_more} more, at each look."
        )
    )
    trial = found.trial
    if trial is None:
        out.append(text("The trial has no bounds, and ends by command."))
    else:
        out.append(
            text(
                f"The trial takes {trial.events} events: at most {trial.alerts} verdicts that are "
                f"not ACCEPT (the most that was seen: {trial.largest[0]}), and "
                f"{trial.saturated} with the flag SATURATED. At most {_share(trial)} of healthy "
                f"terminals are refused ({_basis(trial)})."
            )
        )
    said = "What these bounds refuse, by the last look"
    bars = [(one.what, one.share[-1], percent(one.share[-1])) for one in found.sees]
    head = ["instead of the candidate", *(f"{look.events} events" for look in found.looks)]
    rows = [[one.what, *(percent(x) for x in one.share)] for one in found.sees]
    if found.shadow:
        out.append(
            figure(
                charts.horizontal_bars("sees", said, bars, highest=1.0),
                f"{said}: share of the windows of these terminals on which a pack is refused that "
                "gives such scores in the place of the candidate's.",
            )
        )
        out.append(table("Refused within so many events", head, rows))
    return out
