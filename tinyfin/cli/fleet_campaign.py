# SPDX-License-Identifier: Apache-2.0
"""``tinyfin fleet campaign``: a new pack for many terminals, wave by wave."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from tinyfin.cli.fleet_carriers import FILE, lake_argument
from tinyfin.cli.output import Group, aligned, claim, emit, json_option, note
from tinyfin.cli.registry import registry_option, signer_option
from tinyfin.cli.trust import public_key_option
from tinyfin.optional_packages import require

if TYPE_CHECKING:
    from tinyfin.fleet.lake import Lake
    from tinyfin.rollout.store import Campaign, Store

__all__ = ["campaign", "default_url", "store_option"]

_PATH = click.Path(path_type=Path, exists=True)
_name = click.argument("name")
_policy = click.option(
    "--policy", "policy_path", type=FILE, help="Policy (TOML); the default one if not given."
)
_why = click.option("--why", required=True, help="The reason, which is kept with it.")
_who = click.option("--who", required=True, help="Who decides it.")
_at = click.option(
    "--at",
    "at",
    metavar="HOUR",
    help="In place of now, for data of the past: ISO 8601, UTC, or hours since 2000-01-01.",
)
store_option = click.option(
    "--store",
    "url",
    envvar="TINYFIN_CAMPAIGNS",
    show_envvar=True,
    help="Database, a URL of SQLAlchemy; campaigns.sqlite in the lake if not given.",
)
_registry = click.option(
    "--registry",
    "folder",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Look there whether the campaign is approved and its pack may go out.",
)
_key = click.option(
    "--key", "key_path", type=FILE, help="Record waves and a halt in the registry, with this key."
)


@click.group(cls=Group)
def campaign() -> None:
    """Campaigns: a new pack for many terminals, wave by wave, as long as its gates hold
    (docs/rollout.md)."""


def default_url(lake: Lake) -> str:
    """The database of the campaigns on a lake."""
    return f"sqlite:///{lake.path / 'campaigns.sqlite'}"


class _Open(NamedTuple):
    """The campaign that a command is about."""

    lake: Lake
    name: str
    store: Store


def _command(verb: str, *options: Callable[[Any], Any]) -> Callable[[Any], click.Command]:
    """A command about the campaign NAME of LAKE."""

    def made(function: Any) -> click.Command:
        @functools.wraps(function)
        def called(lake: Path, name: str, url: str | None, **given: Any) -> None:
            from tinyfin.fleet.lake import Lake

            require(["sqlalchemy", "scipy", "duckdb"], "for campaigns")
            from tinyfin.rollout.store import Store

            opened = Lake(lake)
            function(_Open(opened, name, Store(url or default_url(opened))), **given)

        whole: Any = called
        for option in (json_option, store_option, *reversed(options), _name, lake_argument):
            whole = option(whole)
        return campaign.command(verb)(whole)

    return made


def _hour(at: str | None) -> int:
    import datetime as dt

    from tinyfin.config import parse_moment

    if at is not None and at.isdecimal():
        return int(at)
    try:
        return parse_moment(at or dt.datetime.now(dt.UTC)) // 3600
    except ValueError as error:
        raise click.UsageError(f"--at {at!r}: {error}") from error


def _said(found: Campaign, as_json: bool, **more: object) -> None:
    from tinyfin.rollout.members import Stage

    now, definition = found.rollout.progress, found.definition
    members = {one.name.lower(): int((found.rollout.stage == one).sum()) for one in Stage}
    wave = definition.policy.waves[now.wave].name
    facts = {
        "campaign": definition.name,
        "state": now.state,
        "wave": wave,
        "why": now.why,
        "hour": now.hour,
        "pack": definition.pack,
        "terminals": len(found.members),
        "members": members,
    }
    counts = ", ".join(f"{n} {what}" for what, n in members.items() if n)
    text = f"{definition.name}: {now.state}, wave {wave}; {counts}\n{now.why}"
    emit({**facts, **more}, as_json, text.rstrip())


@_command(
    "new",
    click.option("--pack", type=_PATH, required=True, help="Run folder or .tfpack."),
    click.option("--parent", type=_PATH, required=True, help="The pack that it replaces."),
    click.option(
        "--terminals",
        type=FILE,
        required=True,
        help="CSV: terminal, its id; further columns (merchant class, target, ...) make strata.",
    ),
    _policy,
    click.option("--alerts-ratio", type=float, help="Expected alerts, for one of the parent."),
    public_key_option,
)
def new(
    to: _Open,
    pack: Path,
    parent: Path,
    terminals: Path,
    policy_path: Path | None,
    alerts_ratio: float | None,
    public_keys: tuple[Path, ...],
    as_json: bool,
) -> None:
    """Make a draft. Nothing is offered before it is approved."""
    from tinyfin.fleet.inventory import read_inventory
    from tinyfin.fleet.views import connect, rows_of
    from tinyfin.rollout.definition import define, members_of
    from tinyfin.rollout.policy import Policy
    from tinyfin.rollout.store import Campaign

    policy = Policy.read(policy_path) if policy_path else Policy()
    rows = members_of(to.lake.key, read_inventory(terminals))
    made = define(
        to.name, pack, parent, policy, rows, public_keys=public_keys, alerts_ratio=alerts_ratio
    )
    draft = Campaign.begun(made, rows)
    to.store.add(draft)
    with connect(to.lake) as base:
        heard = {row["terminal"] for row in rows_of(base, "SELECT DISTINCT terminal FROM report")}
    if unheard := [one.terminal for one in rows if _alias(to.lake, one.terminal) not in heard]:
        note(
            f"{len(unheard):,} of {len(rows):,} terminals have never reported, such as "
            f"{unheard[0]}; they get no offer before they do"
        )
    _said(draft, as_json, definition=made.as_dict())


def _alias(lake: Lake, terminal: str) -> str:
    """The lake's; empty of a member that was erased."""
    return lake.key.terminal(bytes.fromhex(terminal)) if terminal else ""


@_command("approve", registry_option, signer_option)
def approve(to: _Open, folder: Path, key_path: Path, as_json: bool) -> None:
    """Approve the campaign, with your key. It takes as many persons as the registry asks for, and
    a pack that is released there. The last one lets the next tick begin."""
    from tinyfin.pack.signing import load_key
    from tinyfin.registry.registry import Registry
    from tinyfin.rollout import registered

    registry = Registry(folder)
    with to.store.changing(to.name) as found:
        wanted, names = (
            registered.wanted(registry),
            registered.approvers(registry, found.definition),
        )
        if len(names) < wanted:
            key = load_key(key_path, "person")
            registered.sign(registry, found.definition, registered.APPROVED, key)
            names = registered.approvers(registry, found.definition)
        if len(names) >= wanted:
            found.do("approve", _hour(None), ", ".join(names), "")
    note(f"approved by {', '.join(names)}; persons wanted: {wanted}")
    _said(found, as_json, approved_by=names)


@_command(
    "tick",
    _at,
    _registry,
    _key,
    click.option("--stage", default="production", help="Stage of the events, with --key."),
)
def tick(
    to: _Open, at: str | None, folder: Path | None, key_path: Path | None, stage: str, as_json: bool
) -> None:
    """Look at what terminals report, and offer the pack to more, wait, or halt. For cron: the same
    hour again changes nothing. Exit code 4 when the campaign is halted."""
    from tinyfin.fleet.estimates import precision
    from tinyfin.fleet.tables import day_of
    from tinyfin.registry.registry import Registry
    from tinyfin.rollout import registered
    from tinyfin.rollout.controller import OVER, STOPPED, State
    from tinyfin.rollout.observed import observed

    if key_path and not folder:
        raise click.UsageError("--key goes with --registry")
    hour, lake = _hour(at), to.lake
    registry, expected = None if folder is None else Registry(folder), None
    with to.store.changing(to.name) as found:
        state, unwatched = found.rollout.progress.state, (State.DRAFT, *OVER)
        watched = None if state in unwatched else registry
        if watched and (why := registered.objection(watched, found, lake.key)):
            ended = state == State.DONE and registered.retired(watched, found.definition)
            found.do("end" if ended else "halt", hour, "registry", why)
        aliases = [_alias(lake, one.terminal) for one in found.members]
        seen = observed(lake, found.definition, aliases, found.rollout.offered_h, hour)
        if registry and found.rollout.progress.state not in unwatched:
            pack = registered.pack_of(registry, found.definition)
            expected = precision(lake, pack, day_of(hour))
        done = found.tick(hour, seen, expected)
    if registry and key_path:
        from tinyfin.pack.signing import load_key

        key = load_key(key_path, "person")
        registered.record(registry, found.definition, found.rollout.progress, stage, key)
    _said(found, as_json, offers=len(done.offers), gates=[vars(gate) for gate in done.gates])
    if done.state == State.DRAFT:
        note("a draft waits for `tinyfin fleet campaign approve`; nothing is offered before")
    if done.state in STOPPED:
        raise SystemExit(4)


@_command(
    "status",
    click.option("--page", "page_path", type=click.Path(path_type=Path), help="Also as HTML."),
)
def status(to: _Open, page_path: Path | None, as_json: bool) -> None:
    """Where the campaign is, and its gates at the last look."""
    found, log = to.store.campaign(to.name), to.store.log(to.name)
    if page_path is not None:
        from tinyfin import files
        from tinyfin.rollout.page import render

        claim(page_path)
        files.write(page_path, render(found, log))
    gates: list[dict[str, str]] = next(
        (one.result["gates"] for one in reversed(log) if one.result["gates"]), []
    )
    _said(found, as_json, gates=gates)
    if gates and not as_json:
        rows = [(gate["name"], gate["state"], gate["text"]) for gate in gates]
        click.echo("\n".join(aligned([("gate", "state", "found"), *rows])))


@_command("offers", _registry)
def offers(to: _Open, folder: Path | None, as_json: bool) -> None:
    """What terminals should be told now, as CSV (or --json): terminal, pack, and action: offer,
    abort, or revert, whose pack is the parent. With --registry nothing is offered that is not
    approved there any more: exit code 4."""
    from tinyfin.errors import MismatchError
    from tinyfin.registry.registry import Registry
    from tinyfin.rollout import registered
    from tinyfin.rollout.controller import OFFERING

    found = to.store.campaign(to.name)
    definition, rows = found.definition, []
    asked = folder if found.rollout.progress.state in OFFERING else None
    if asked and (why := registered.objection(Registry(asked), found, to.lake.key)):
        raise MismatchError(f"campaign {to.name}: {why}; nothing is offered, see `tick`")
    for action, members in found.rollout.actions().items():
        pack = definition.parent if action == "revert" else definition.pack
        rows += [(found.members[i].terminal, pack, action) for i in members.tolist()]
    names = ("terminal", "pack", "action")
    lines = [",".join(row) for row in (names, *rows)]
    emit({"offers": [dict(zip(names, r, strict=True)) for r in rows]}, as_json, "\n".join(lines))


def _person(kind: str, text: str, *signed: Callable[[Any], Any]) -> None:
    @_command(kind, _why, *(signed or [_who]))
    def deed(
        to: _Open,
        why: str,
        as_json: bool,
        who: str = "",
        folder: Path | None = None,
        key_path: Path | None = None,
    ) -> None:
        from tinyfin.pack.signing import load_key
        from tinyfin.registry.registry import Registry
        from tinyfin.rollout import registered

        with to.store.changing(to.name) as found:
            if folder is None or key_path is None:
                found.do(kind, _hour(None), who, why)
            else:
                entry, registry = len(found.kinds), Registry(folder)
                key = load_key(key_path, "person")
                found.do(kind, _hour(None), registered.name_of(registry, key), why)
                event = registered.SIGNED[kind]
                registered.sign(registry, found.definition, event, key, entry=entry, why=why)
        _said(found, as_json)

    deed.help = text


_SIGNS = (registry_option, signer_option)
_person("halt", "Stop the campaign for good: abort, and revert if the policy says so.")
_person("end", "Offer nothing more; terminals stay as they are, free for other campaigns.")
_person("pause", "Offer nothing more until `resume`. Gates that break still halt it.")
_person("resume", "Let a paused or inconclusive campaign wait for its gates again.", *_SIGNS)
_person(
    "pass",
    "Let the wave of a paused or inconclusive campaign pass by your decision, not by its gates.",
    *_SIGNS,
)


@_command("log")
def log(to: _Open, as_json: bool) -> None:
    """What happened, from the first entry on."""
    from tinyfin.rollout.page import moment

    found = to.store.log(to.name)
    rows = [
        (str(e.number), moment(e.hour), e.kind, e.who, str(e.result["state"]), e.why) for e in found
    ]
    facts = [{k: v for k, v in vars(one).items() if k != "seen"} for one in found]
    head = ("entry", "hour (UTC)", "what", "who", "state", "why")
    emit({"entries": facts}, as_json, "\n".join(aligned([head, *rows])))


@_command("replay")
def replay(to: _Open, as_json: bool) -> None:
    """Compute the campaign again from its log. Exit code 4 when members and offers that
    come of it are not those that are kept."""
    count = to.store.replay(to.name)
    text = f"{to.name}: {count} entries make the members and offers that are kept"
    emit({"campaign": to.name, "entries": count}, as_json, text)


@campaign.command("policy")
@click.argument("policy_path", metavar="FILE", type=FILE, required=False)
@click.option("--terminals", type=click.IntRange(1), required=True, help="Terminals of the fleet.")
@json_option
def policy(policy_path: Path | None, terminals: int, as_json: bool) -> None:
    """Check a policy, and say which failure rates its waves find in a fleet of so many."""
    require(["scipy"], "for campaigns")
    from tinyfin.rollout.policy import Policy

    found = Policy.read(policy_path) if policy_path else Policy()
    rows = found.power(found.sizes(terminals))
    note(f"with {100 * found.gates.confidence:g} %, by all of a wave's members in one look")
    facts = {"policy": found.as_dict(), "power": [vars(row) for row in rows]}
    emit(facts, as_json, "\n".join(row.text for row in rows))
