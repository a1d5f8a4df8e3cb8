# SPDX-License-Identifier: Apache-2.0
"""``tinyfin audit``: what a terminal decided and obeyed, read and verified."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tinyfin.cli.output import (
    FILE,
    Group,
    aligned,
    claim,
    emit,
    file_option,
    json_option,
    out_option,
)
from tinyfin.cli.terminal import Terminal, terminal_options

if TYPE_CHECKING:
    from tinyfin.field.audit import Record

__all__ = ["command"]

_file_argument = click.argument("file", type=FILE)


@click.group(cls=Group)
def command() -> None:
    """The audit log of a terminal: read it, verify it, show it."""


@command.command("read")
@terminal_options
@out_option("The log, a .tfaudit file.")
@json_option
def read(terminal: Terminal, out_path: Path, as_json: bool) -> None:
    """Read the audit log of a terminal into a file."""
    from tinyfin import files
    from tinyfin.wire import audit_frames

    claim(out_path)
    with terminal.connected() as client:
        log = audit_frames.read_audit(client)
    files.write(out_path, log.encode())
    places = len(log.units) * log.unit_places
    facts = {"file": str(out_path), "terminal": log.terminal.hex(), "places": places}
    emit(facts, as_json, f"{out_path}: the log of terminal {log.terminal.hex()}, {places} places")


@command.command("verify")
@_file_argument
@file_option(
    "--fleet-key",
    "fleet_path",
    "The key of `tinyfin keygen --kind fleet` that the terminal was provisioned with.",
    required=True,
)
@click.option(
    "--head",
    "head_texts",
    metavar="SEQ:MAC",
    multiple=True,
    help="The newest record at some time, as `tinyfin report show` prints it. May be repeated.",
)
@file_option(
    "--report",
    "report_paths",
    "A report that the terminal made before, which has such a head. May be repeated.",
    multiple=True,
)
@json_option
def verify(
    file: Path,
    fleet_path: Path,
    head_texts: tuple[str, ...],
    report_paths: tuple[Path, ...],
    as_json: bool,
) -> None:
    """Say whether a log is VALID, or GAP, TRUNCATED, FORKED or CORRUPT, and where.

    Only a head that the terminal reported before shows that the newest records were removed: give
    the reports that you keep. Exit code 4 when the log is not VALID.
    """
    from tinyfin.errors import InputError, MismatchError
    from tinyfin.field import audit
    from tinyfin.field.keys import load_fleet_key, terminal_keys
    from tinyfin.field.report import parse_report, require_genuine

    log = audit.parse_audit(file.read_bytes(), file)
    keys = terminal_keys(load_fleet_key(fleet_path), log.terminal)
    heads = [audit.parse_head(text) for text in head_texts]
    for path in report_paths:
        report = parse_report(path.read_bytes(), path)
        if report.terminal != log.terminal:
            raise InputError(
                f"{path}: is a report of terminal {report.terminal.hex()}; the log is of "
                f"{log.terminal.hex()}"
            )
        require_genuine(report, keys.report, path)
        if (head := report.audit_head) is not None:
            heads.append(head)
    found = audit.verify(log, keys.audit, heads)
    facts = {
        "verdict": found.verdict.value,
        "why": found.why,
        "terminal": log.terminal.hex(),
        "records": len(found.records),
        "lost": found.lost,
        "torn": list(found.torn),
        "heads": len(heads),
    }
    text = str(found.verdict) if found.verdict == audit.Verdict.VALID else ""
    if found.records:
        first, last = found.records[0], found.records[-1]
        facts |= {"first": first.sequence, "last": last.sequence, "mac": last.mac.hex()}
        text = text and f"{text}: records {first.sequence} to {last.sequence}"
        if not heads:
            text = text and f"{text}; no head to compare with, so newer ones may be missing"
    emit(facts, as_json, text)
    if found.verdict != audit.Verdict.VALID:
        raise MismatchError(f"{file}: {found.verdict}: {found.why}")


@command.command("show")
@_file_argument
@json_option
def show(file: Path, as_json: bool) -> None:
    """The records of a log, oldest first; nothing is verified."""
    from tinyfin.field import audit

    log = audit.parse_audit(file.read_bytes(), file)
    records = [
        record
        for unit in log.units
        for record in map(audit.parse_record, unit)
        if record.kind in list(audit.Kind)
    ]
    once = [record for _, record in sorted({r.sequence: r for r in records}.items())]
    kinds = [audit.Kind(record.kind).name for record in once]
    said = [{**asdict(r), "kind": kind.lower()} for r, kind in zip(once, kinds, strict=True)]
    facts = {"terminal": log.terminal, "records": said}
    rows = [
        (str(r.sequence), str(r.t_s), kind, _words(r)) for r, kind in zip(once, kinds, strict=True)
    ]
    emit(facts, as_json, "\n".join(aligned([("record", "time in s", "kind", "what"), *rows])))


def _words(record: Record) -> str:
    """What a record says, for people."""
    from tinyfin.field.audit import Kind
    from tinyfin.field.commands import Opcode

    pack = f"pack {record.pack.hex()}..."
    packs = f"active pack {record.alias.hex()}..., other {record.pack.hex()}..."
    low = record.value & 0xFFFF
    match record.kind:
        case Kind.VERDICT:
            action = ("accept", "go online", "decline", "verify")[record.detail & 3]
            reasons = [str(r) for r in (low, record.value >> 16) if r]
            why = f", reasons {', '.join(reasons)}" if reasons else ""
            card = f", card {record.alias.hex()}" if any(record.alias) else ""
            control = ", control event" if record.detail >> 2 & 32 else ""
            return f"{action}{why}, score {record.note / 65536:.5f}{card}{control}, {pack}"
        case Kind.UNIT | Kind.UNIT_AT_BOOT:
            lost = f", {record.detail} records lost before it" if record.detail else ""
            return f"key {record.value}{lost}"
        case Kind.RESTART:
            cause = {0: "power", 1: "fault"}.get(record.detail & 3, "other")
            return f"cause {cause}, boot nonce {record.value:08x}, {packs}"
        case Kind.SLOTS:
            from tinyfin.wire.slot_frames import Phase, Reason

            phase, reason = record.value >> 12 & 15, record.value >> 24 & 31
            names = [
                {int(one): one.name for one in kind}.get(number, str(number)).lower()
                for kind, number in ((Phase, phase), (Reason, reason))
            ]
            return f"phase {names[0]}, reason {names[1]}, {packs}"
        case Kind.STATE:
            return {0: "erased", 1: "replaced", 2: "clock set"}.get(record.detail, "changed")
        case Kind.COMMAND:
            opcode = record.value & 0xFF
            name = Opcode(opcode).words if opcode in list(Opcode) else str(opcode)
            return f"{name}{', to all terminals' if record.value >> 8 & 1 else ''}, {packs}"
        case Kind.KEYS:
            return f"key manifest, version {low}"
        case Kind.NOTICES:
            return f"page {record.value >> 16}, {record.value & 0xFF} notices"
        case Kind.PROBATION:
            from tinyfin.formats import PROBATION_PHASES, PROBATION_RESULTS

            phase, result = record.detail & 3, record.detail >> 2
            if phase >= len(PROBATION_PHASES) or result >= len(PROBATION_RESULTS):
                return f"phase {phase}, result {result}"
            counts = f"{low} events, {record.value >> 16} alerts"
            return f"{PROBATION_PHASES[phase]}: {PROBATION_RESULTS[result]}, {counts}, {packs}"
        case Kind.LEVEL:
            return f"alert level {record.detail} after {record.value} events, {packs}"
        case _:
            return ""
