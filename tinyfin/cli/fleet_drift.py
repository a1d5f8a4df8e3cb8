# SPDX-License-Identifier: Apache-2.0
"""``tinyfin fleet drift``, ``requests`` and ``answer``: does the pack still fit?"""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from tinyfin.cli.fleet_carriers import FILE, open_lake_argument
from tinyfin.cli.output import aligned, as_one, claim, emit, json_option
from tinyfin.cli.registry import registry_option, signer_option, why_option
from tinyfin.cli.trust import public_key_option

if TYPE_CHECKING:
    from tinyfin.fleet.lake import Lake
    from tinyfin.pack.container import Pack

__all__ = ["answer", "drift", "inventory_option", "requests"]


class _Look(NamedTuple):
    """A lake, and what is looked at."""

    lake: Lake
    pack: Pack
    day: int
    strata: dict[str, str] | None
    source: Path
    """Run folder or file of the pack."""


def _look(
    lake: Lake,
    pack_path: Path,
    inventory: Path | None,
    as_of: dt.datetime | None,
    public_keys: tuple[Path, ...],
) -> _Look:
    from tinyfin.fleet.lake import day_number, newest_day
    from tinyfin.fleet.monitors import read_strata
    from tinyfin.registry.contents import opened_in_service

    pack = opened_in_service(pack_path, public_keys)
    day = newest_day(lake) if as_of is None else day_number(as_of.date())
    strata = None if inventory is None else read_strata(lake, inventory)
    return _Look(lake, pack, day, strata, pack_path)


inventory_option = click.option(
    "--inventory",
    type=FILE,
    help="CSV: terminal, its id, and further columns, whose values make strata.",
)
_looking = as_one(
    "at",
    _look,
    open_lake_argument,
    click.option(
        "--pack",
        "pack_path",
        type=click.Path(path_type=Path, exists=True),
        required=True,
        help="The run folder or .tfpack that terminals run.",
    ),
    inventory_option,
    click.option(
        "--as-of",
        type=click.DateTime(["%Y-%m-%d"]),
        help="By what was known at the end of this day; of the newest report if not given.",
    ),
    public_key_option,
    json_option,
)
"""Arguments and options of what looks at a lake on a day, handed over as ``at``."""


@click.command("drift")
@_looking
@click.option(
    "--page", "page_path", type=click.Path(path_type=Path, dir_okay=False), help="Also as HTML."
)
def drift(at: _Look, page_path: Path | None, as_json: bool) -> None:
    """Whether what terminals of LAKE count under a pack has drifted, and what precision it lets
    expect.

    Each terminal against its own past, and strata of terminals together against theirs.
    """
    from tinyfin import files
    from tinyfin.fleet.drift import NOT_YET, drift_of
    from tinyfin.fleet.drift_page import precision_rows, render

    claim(page_path)
    found = drift_of(*at[:4])
    if page_path is not None:
        files.write(page_path, render(found))
    rows = [("stratum", "histogram", "terminals", "index", "p", "")]
    for one in found.comparable:
        index, p = ("-" if x is None else f"{x:.3g}" for x in (one.stability_index, one.p_value))
        state = "drifted" if one.drifted else ""
        rows.append((one.of, one.histogram, str(one.terminals), index, p, state))
    said = [
        f"{found.as_of}: {found.drifted} of {found.compared} terminals differ from their past; at "
        f"most {found.expected_by_chance:.1f} by chance (p {found.chance:.2g})",
        *(f"{name}: {between}; {promise}" for name, between, promise in precision_rows(found)),
        *(aligned(rows) if found.comparable else [NOT_YET]),
    ]
    emit(found.as_dict(), as_json, "\n".join(said))


@click.command("requests")
@_looking
@click.option(
    "--review-by", type=click.DateTime(["%Y-%m-%d"]), help="When the pack is to be reviewed."
)
@registry_option
@click.option("--key", "key_path", type=FILE, help="Record new requests, signed by this key.")
def requests(
    at: _Look, review_by: dt.datetime | None, folder: Path, key_path: Path | None, as_json: bool
) -> None:
    """Why the pack of LAKE should be trained again, and the requests in the registry.

    With --key each cause becomes a signed request: one open request of a cause, and the next one
    14 days after it was answered. The same day again makes nothing new.
    """
    from tinyfin.fleet.requests import judged, record, requests_of
    from tinyfin.pack.signing import load_key
    from tinyfin.registry.registry import Registry
    from tinyfin.training.run_folder import open_run

    by = None if review_by is None else review_by.date()
    if by is None and at.source.is_dir():
        said = open_run(at.source).config().card.review_by
        by = None if said is None else dt.date.fromisoformat(said)
    found = judged(*at[:4], by)
    registry = Registry(folder)
    if key_path is not None:
        record(registry, at.pack, found.causes, at.day, load_key(key_path, "person"))
    listed = requests_of(registry) if key_path is not None or folder.exists() else []
    rows = [("request", "day", "pack", "cause", "why", "control events", "answer")]
    for one in listed:
        asked, end = one.event.detail, None if one.answer is None else one.answer.detail
        subject = "" if one.event.subject is None else one.event.subject.pack[:8]
        answered = "open" if end is None else end["pack"] or end["why"]
        kept = "yes" if asked["control"] else "none: data shows only what the pack let through"
        words = (asked["day"], subject, asked["cause"], asked["why"], kept, answered)
        rows.append((str(one.event.number), *words))
    lines = [f"{cause}: {why}" for cause, why in found.causes.items()] or ["no cause"]
    lines += [f"waiting: {found.waiting}"] if found.waiting else []
    facts = {
        "causes": dict(found.causes),
        "waiting": found.waiting,
        "requests": [
            {
                "request": one.name,
                **one.event.detail,
                "answer": None if one.answer is None else one.answer.detail,
            }
            for one in listed
        ],
    }
    emit(facts, as_json, "\n".join([*lines, *(aligned(rows) if listed else ())]))


@click.command("answer")
@click.argument("request", type=click.IntRange(1))
@why_option
@registry_option
@signer_option
@json_option
def answer(request: int, why: str, folder: Path, key_path: Path, as_json: bool) -> None:
    """Close REQUEST, a number of `tinyfin fleet requests`, without a candidate."""
    from tinyfin.fleet.lake import day_number
    from tinyfin.fleet.requests import answer
    from tinyfin.pack.signing import load_key
    from tinyfin.registry.registry import Registry

    today = day_number(dt.datetime.now(dt.UTC).date())
    event = answer(Registry(folder), request, today, load_key(key_path, "person"), why=why)
    said = f"request {request}: {why}\nhead {event.number}:{event.digest}"
    emit(event.model_dump(), as_json, said)
