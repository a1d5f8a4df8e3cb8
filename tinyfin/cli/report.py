# SPDX-License-Identifier: Apache-2.0
"""``tinyfin report``: what a terminal says of itself."""

from __future__ import annotations

from pathlib import Path

import click

from tinyfin.cli.output import (
    FILE,
    Group,
    aligned,
    claim,
    emit,
    file_option,
    json_option,
    note,
    out_option,
)
from tinyfin.cli.terminal import Terminal, terminal_options
from tinyfin.cli.trust import public_key_option

__all__ = ["command"]


@click.group(cls=Group)
def command() -> None:
    """A report of a terminal: its counters, its slots, the head of its audit log, what its monitor
    counted."""


@command.command("read")
@terminal_options
@out_option("The report, a .tfreport file.")
@json_option
def read(terminal: Terminal, out_path: Path, as_json: bool) -> None:
    """Have a terminal make a report, and write it to a file."""
    from tinyfin import files
    from tinyfin.field.report import parse_report
    from tinyfin.wire import audit_frames

    claim(out_path)
    with terminal.connected() as client:
        data = audit_frames.read_report(client)
    report = parse_report(data, "the terminal's report")
    files.write(out_path, data)
    facts = {"file": str(out_path), "terminal": report.terminal.hex(), "bytes": len(data)}
    emit(facts, as_json, f"{out_path}: report {report.number} of terminal {report.terminal.hex()}")


@command.command("show")
@click.argument("file", type=FILE)
@file_option(
    "--fleet-key",
    "fleet_path",
    "Check the report with the fleet key that its terminal was provisioned with.",
)
@json_option
def show(file: Path, fleet_path: Path | None, as_json: bool) -> None:
    """What a report says; with --fleet-key, only if its terminal made it."""
    from dataclasses import asdict

    from tinyfin.field.keys import load_fleet_key, terminal_keys
    from tinyfin.field.report import Tag, parse_report, require_genuine

    report = parse_report(file.read_bytes(), file)
    if fleet_path is not None:
        keys = terminal_keys(load_fleet_key(fleet_path), report.terminal)
        require_genuine(report, keys.report, file)
    head, slots = report.audit_head, report.slots
    head_text = f"{head.sequence}:{head.mac.hex()}" if head else None
    facts: dict[str, object] = {
        "terminal": report.terminal.hex(),
        "boot_nonce": report.boot_nonce,
        "number": report.number,
        "pack": report.pack.hex(),
        "t_s": report.t_s,
        "reset_cause": report.reset_cause,
        "counters": report.counters,
        "audit_head": head_text,
        "audit_lost": report.audit_lost,
        "unknown_sections": [tag for tag, _ in report.sections if tag not in list(Tag)],
        "checked": fleet_path is not None,
    }
    if (probation := report.probation) is not None:
        facts["probation"] = probation.words
    if (monitor := report.monitor) is not None:
        facts["alert_level"] = monitor.level
        facts["monitored_events"] = monitor.events
    if slots is not None:
        facts["slots"] = asdict(slots)
    rows = [(name, str(value)) for name, value in facts.items() if not isinstance(value, dict)]
    rows += [(name, str(value)) for name, value in (report.counters or {}).items() if value]
    emit(facts, as_json, "\n".join(aligned([("fact", "value"), *rows])))


@command.command("drift")
@click.argument("files", metavar="REPORT...", nargs=-1, required=True, type=FILE)
@click.option(
    "--pack",
    "pack_path",
    required=True,
    type=click.Path(path_type=Path, exists=True),
    help="The pack that the terminals run, or its run folder.",
)
@file_option(
    "--fleet-key",
    "fleet_path",
    "Check the reports with the fleet key that their terminals were provisioned with.",
)
@click.option(
    "--window",
    "events",
    type=click.IntRange(min=1),
    default=500,
    show_default=True,
    help="Events of a terminal's newest window, at least; it ends with its newest report.",
)
@public_key_option
@json_option
def drift(
    files: tuple[Path, ...],
    pack_path: Path,
    fleet_path: Path | None,
    events: int,
    public_keys: tuple[Path, ...],
    as_json: bool,
) -> None:
    """Whether terminals have drifted, from the reports of each, two or more.

    Compares a terminal's newest window of events with its own past, and, with the reports of nine
    terminals or more, with the others' windows. Reports of another pack are left out: their bins
    are others. Exit code 4 when a terminal has drifted.
    """
    from tinyfin.errors import MismatchError
    from tinyfin.field.drift import read_reports, terminal_drifts
    from tinyfin.pack.trust import require_trusted, trusted_keys
    from tinyfin.targets.flash import run_pack

    data = run_pack(pack_path).read_bytes()
    pack = require_trusted(data, trusted_keys(pack_path, public_keys), pack_path)
    readings, others = read_reports(files, pack, fleet_path)
    found = terminal_drifts(readings, pack, events)
    if others:
        note(f"{others} reports are of another pack, or have no counts: left out")
    facts = {"pack_id": pack.pack_id.hex(), "left_out": others, "terminals": found.as_json()}
    emit(facts, as_json, "\n".join(aligned(found.rows())))
    if found.drifted:
        note(f"error: drifted: {', '.join(found.drifted)}")
        raise SystemExit(MismatchError.exit_code)
