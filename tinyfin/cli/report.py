# SPDX-License-Identifier: Apache-2.0
"""``tinyfin report``: what a terminal says of itself."""

from __future__ import annotations

from pathlib import Path

import click

from tinyfin.cli.boards import boards_option
from tinyfin.cli.output import aligned, claim, emit, json_option, out_option
from tinyfin.cli.slots import reached, terminal_options

__all__ = ["command"]


@click.group()
def command() -> None:
    """A report of a terminal: its counters, its slots, the head of its audit log."""


@command.command("read")
@terminal_options
@out_option("The report, a .tfreport file.")
@boards_option
@json_option
def read(
    target_name: str | None, terminal: Path | None, port: str | None, out_path: Path, as_json: bool
) -> None:
    """Have a terminal make a report, and write it to a file."""
    from tinyfin import files
    from tinyfin.field.report import parse_report
    from tinyfin.wire import audit_frames

    claim(out_path)
    with reached(target_name, terminal, port) as session:
        session.client.connect()
        data = audit_frames.read_report(session.client)
    report = parse_report(data, "the terminal's report")
    files.write(out_path, data)
    facts = {"file": str(out_path), "terminal": report.terminal.hex(), "bytes": len(data)}
    emit(facts, as_json, f"{out_path}: report {report.number} of terminal {report.terminal.hex()}")


@command.command("show")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option(
    "--fleet-key",
    "fleet_path",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Check the report with the fleet key that its terminal was provisioned with.",
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
    if slots is not None:
        facts["slots"] = {
            name: value.hex() if isinstance(value, bytes) else value
            for name, value in asdict(slots).items()
        }
    rows = [(name, str(value)) for name, value in facts.items() if not isinstance(value, dict)]
    rows += [(name, str(value)) for name, value in (report.counters or {}).items() if value]
    emit(facts, as_json, "\n".join(aligned([("fact", "value"), *rows])))
