# SPDX-License-Identifier: Apache-2.0
"""``tinyfin registry``: packs, who has approved them, and where they are in service."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tinyfin.cli.output import Group, aligned, as_one, claim, emit, json_option
from tinyfin.cli.output import note as say
from tinyfin.cli.registry_texts import event_lines, pending_text, state_text, words

if TYPE_CHECKING:
    from tinyfin.pack.signing import Key
    from tinyfin.registry.events import Event
    from tinyfin.registry.registry import Registry
    from tinyfin.registry.state import Entry

__all__ = ["command"]

_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)

registry_option = click.option(
    "--registry",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("registry"),
    show_default=True,
    envvar="TINYFIN_REGISTRY",
    show_envvar=True,
    help="Folder of the registry.",
)
signer_option = click.option(
    "--key",
    "key_path",
    type=_FILE,
    required=True,
    help="Your key, of `tinyfin keygen --kind person`, which the policy names.",
)
note_option = click.option("--note", default="", help="A sentence that is kept with it.")
why_option = click.option("--why", required=True, help="The reason, which is kept with it.")
pack_argument = click.argument("pack")


@dataclass(frozen=True)
class _Signing:
    """A registry, and who records an event in it."""

    registry: Registry
    key: Key
    as_json: bool

    def record(self, kind: str, pack: str | None, **detail: object) -> None:
        self.said(self.registry.record(kind, pack, detail, self.key))

    def said(self, event: Event) -> None:
        """Print the event that a command has recorded, and the new head, to be kept elsewhere."""
        log = self.registry.log
        if log.torn_bytes:
            say(
                f"{log.path}: the last line was torn, as a power cut leaves it: its "
                f"{log.torn_bytes} bytes are removed"
            )
        facts = {**event.model_dump(), "sha256": event.digest}
        head = f"head {event.number}:{event.digest}"
        pending = pending_text(log.state, event)
        emit(facts, self.as_json, f"{event_lines([event])[-1]}{pending}\n{head}")


def _opened_to_sign(folder: Path, key_path: Path, as_json: bool) -> _Signing:
    from tinyfin.pack.signing import load_key

    return _Signing(_opened(folder), load_key(key_path, "person"), as_json)


_signing = as_one("to", _opened_to_sign, registry_option, signer_option, json_option)
"""Options of a command that records an event, handed over as ``to``."""


@click.group(cls=Group)
def command() -> None:
    """The registry: an OCI image layout of packs, and a log of signed events in which they are
    added, validated, approved, released, promoted, halted and retired (docs/registry.md).

    PACK is a pack id, six digits or more of how one begins, or a .tfpack file.
    """


@command.command("init")
@click.argument("policy", type=_FILE)
@_signing
def init(to: _Signing, policy: Path) -> None:
    """Make a registry whose first event is a POLICY, a TOML file with persons, the keys of those
    who sign packs, and rules."""
    from tinyfin.registry.policy import read_policy

    claim(to.registry.path, make_folder=True)
    to.registry.create(to.registry.path, read_policy(policy), to.key)
    to.said(to.registry.events()[0])


@command.command("add")
@click.argument("source", metavar="RUN")
@click.argument("files", nargs=-1, type=_FILE)
@_signing
def add(to: _Signing, source: str, files: tuple[Path, ...]) -> None:
    """Add the pack of a RUN, of its release if there is one, or a .tfpack file.

    What the run says of it is kept, too: release, metrics, evaluation, cards, configuration, and
    further FILES.
    """
    from tinyfin.registry.contents import gather

    to.said(to.registry.add(gather(source, files), to.key))


@command.command("validate")
@pack_argument
@click.argument("files", nargs=-1, type=_FILE)
@note_option
@_signing
def validate(to: _Signing, pack: str, files: tuple[Path, ...], note: str) -> None:
    """Record that you have looked at a PACK; FILES are kept as evidence."""
    from tinyfin.errors import InputError

    evidence = {file.name: file.read_bytes() for file in files}
    if len(evidence) != len(files):
        raise InputError("two files of one name: rename one")
    to.said(to.registry.validate(pack, evidence, to.key, note))


def _deed(verb: str, kind: str, option: Callable[[Any], Any], text: str) -> None:
    """A command that records an event about a pack, and a sentence with it."""

    @command.command(verb, help=text)
    @pack_argument
    @option
    @_signing
    def deed(to: _Signing, pack: str, **sentence: str) -> None:
        to.record(kind, pack, **sentence)


_deed(
    "approve",
    "approved",
    note_option,
    "Approve a PACK. As many persons must as the policy says, none of whom has added it.",
)
_deed(
    "release",
    "released",
    note_option,
    "Release a PACK that is approved: from now on it may be promoted.",
)
_deed(
    "halt",
    "halted",
    why_option,
    "Halt a PACK: it is promoted no further until it is validated, approved and released again. "
    "One person is enough.",
)
_deed("retire", "retired", why_option, "Retire a PACK for good; it is in no stage any more.")


@command.command("promote")
@pack_argument
@click.argument("stage")
@click.option("--fleet", default="", help="Of these terminals; of all if not given.")
@click.option("--wave", type=click.IntRange(0), help="Number of the wave.")
@note_option
@_signing
def promote(to: _Signing, pack: str, stage: str, fleet: str, wave: int | None, note: str) -> None:
    """Record that terminals of a STAGE get a PACK, in place of the one before."""
    to.record("promoted", pack, stage=stage, fleet=fleet, wave=wave, note=note)


@command.command("policy")
@click.argument("file", type=_FILE)
@_signing
def policy(to: _Signing, file: Path) -> None:
    """Sign another policy, with other persons, keys or rules.

    It counts when as many persons have signed the same one as must approve a pack.
    """
    from tinyfin.registry.policy import read_policy

    to.record("policy", None, policy=read_policy(file).as_dict())


@command.command("revoke")
@click.argument("public_key", type=_FILE)
@why_option
@_signing
def revoke(to: _Signing, public_key: Path, why: str) -> None:
    """Revoke a key that leaked, by its public half: it signs nothing more.

    One person is enough, unless it leaves fewer persons who may sign a new policy than must sign
    one: then as many must sign the revocation. Validations and approvals with that key do not
    count any more for packs that are not released yet.
    """
    from tinyfin.pack.signing import key_id
    from tinyfin.pack.trust import load_public_key

    revoked = f"{key_id(load_public_key(public_key, 'person')):08x}"
    to.record("revoked", None, key=revoked, why=why)


@command.command("at")
@click.argument("date", required=False)
@registry_option
@json_option
def at(date: str | None, folder: Path, as_json: bool) -> None:
    """Which pack was in which stage at a DATE (its end, UTC) or time, and who had approved it; now
    without one."""
    from tinyfin.registry.registry import moment_text

    until = moment_text(date)
    registry = _read(folder)
    state = registry.state(until)
    facts = {
        "at": until,
        "head": f"{state.number}:{state.head}",
        "packs": [entry.as_dict() for entry in state.entries.values()],
        "places": [place.as_dict() for place in state.places.values()],
    }
    emit(facts, as_json, state_text(state, until))


@command.command("show")
@pack_argument
@registry_option
@json_option
def show(pack: str, folder: Path, as_json: bool) -> None:
    """A PACK: what it says of itself, what is kept with it, and its events."""
    from tinyfin.registry.export import exported_pack

    registry = _read(folder)
    entry = registry.find(pack)
    found = exported_pack(registry, entry)
    events = [event for event in registry.events() if _is_about(event, entry)]
    facts = {**found.as_dict(), "events": [event.model_dump() for event in events]}
    rows = [(str(one.bytes), one.media_type, one.name) for one in found.files]
    config = {key: value for key, value in found.config.as_dict().items() if key != "lineage"}
    lines = [f"pack {entry.pack}: {entry.standing}", f"manifest {entry.manifest}"]
    lines += [f"  {key}: {words(value)}" for key, value in config.items()]
    lines += [f"  lineage {key}: {value}" for key, value in found.config.lineage.items()]
    lines += [f"  {line}" for line in aligned([("bytes", "media type", "file"), *rows])]
    emit(facts, as_json, "\n".join([*lines, *event_lines(events)]))


@command.command("log")
@click.argument("pack", required=False)
@registry_option
@json_option
def log(pack: str | None, folder: Path, as_json: bool) -> None:
    """The events, or those of a PACK."""
    registry = _read(folder)
    events = list(registry.events())
    if pack is not None:
        entry = registry.find(pack)
        events = [event for event in events if _is_about(event, entry)]
    facts = {"events": [{**one.model_dump(), "sha256": one.digest} for one in events]}
    emit(facts, as_json, "\n".join(event_lines(events)))


@command.command("verify")
@click.option(
    "--head",
    "head_texts",
    metavar="NUMBER:HASH",
    multiple=True,
    help="An event that was there, as the command that recorded it printed it; or a file with the "
    "newest line of the log as it was. May be repeated.",
)
@registry_option
@json_option
def verify(head_texts: tuple[str, ...], folder: Path, as_json: bool) -> None:
    """Check every event (signature, chain, rules), and every blob that it names.

    Names the event that was changed, removed or exchanged. Only a head that you keep elsewhere
    shows that the newest events were cut off. Exit code 4 unless the registry is VALID.
    """
    from tinyfin.errors import MismatchError
    from tinyfin.registry.log import parse_head

    heads = [parse_head(text) for text in head_texts]
    head, findings = _opened(folder).verify(heads)
    facts = {
        "verdict": findings[0].verdict if findings else "VALID",
        "head": str(head),
        "heads": len(heads),
        "findings": [vars(finding) for finding in findings],
    }
    lines = [f"{folder}: {finding}" for finding in findings]
    if not findings:
        lines = [f"VALID: events 1 to {head.number}, head {head}"]
        lines += [] if heads else ["no head to compare with: events cut off at the end do not show"]
    emit(facts, as_json, "\n".join(lines))
    if findings:
        raise SystemExit(MismatchError.exit_code)


@command.command("export")
@click.option("--at", "date", help="As it was at this date (its end, UTC) or time.")
@click.option(
    "--out",
    "out_path",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File to write; stdout if not given.",
)
@registry_option
@json_option
def export(date: str | None, out_path: Path | None, folder: Path, as_json: bool) -> None:
    """The whole registry as JSON (docs/schemas/registry.json), to a file or to stdout."""
    from tinyfin import files
    from tinyfin.registry.export import export as exported
    from tinyfin.registry.registry import moment_text

    claim(out_path)
    found = exported(_read(folder), moment_text(date))
    text = found.text().rstrip("\n")
    if out_path is not None:
        files.write(out_path, found.text())
        text = f"{out_path}: {len(found.packs)} packs, head {found.head}"
    emit(found.as_dict(), as_json, text)


@command.command("mirror")
@click.option(
    "--mlflow",
    "uri",
    metavar="URI",
    required=True,
    help="A server of MLflow, or a file such as sqlite:///models.db.",
)
@click.option("--name", help="Of the registered model; the packs' families if not given.")
@registry_option
@json_option
def mirror(uri: str, name: str | None, folder: Path, as_json: bool) -> None:
    """Copy every pack that was released to the model registry of MLflow, as a version.

    Aliases are the stages, with the fleet if there is one: production, production-north. What
    somebody has changed there is corrected, and said. What counts is the log here: the mirror is
    never read for a state.
    """
    from tinyfin.mirror import mirror as mirrored

    registry = _read(folder)
    changes = mirrored(registry, uri, name)
    head = f"{registry.log.state.number}:{registry.log.state.head}"
    facts = {"head": head, "changes": [vars(change) for change in changes]}
    lines = [*map(str, changes)] or ["the mirror is as the registry is"]
    emit(facts, as_json, "\n".join([*lines, f"head {head}"]))


def _opened(folder: Path) -> Registry:
    from tinyfin.registry.registry import Registry

    return Registry(folder)


def _read(folder: Path) -> Registry:
    """Opened, and its log read."""
    from tinyfin.registry.state import Verdict

    registry = _opened(folder)
    registry.events()
    found = registry.log.followed
    if found.verdict == Verdict.TORN:
        say(f"{registry.log.path}: event {found.number} {found.why}")
    return registry


def _is_about(event: Event, entry: Entry) -> bool:
    return event.subject is not None and event.subject.pack == entry.pack
