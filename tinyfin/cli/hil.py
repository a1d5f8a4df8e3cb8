# SPDX-License-Identifier: Apache-2.0
"""``tinyfin hil``: the targets of a rig, from what is plugged in to a JUnit file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tinyfin.cli.boards import boards_option, emulator_option
from tinyfin.cli.output import Group, claim, emit, json_option, note
from tinyfin.cli.trust import public_key_option
from tinyfin.progress import stage

if TYPE_CHECKING:
    from tinyfin.hil.rigs.rigfile import Rig
    from tinyfin.hil.runs.results import RigResult

__all__ = ["command"]

_FILE = click.Path(path_type=Path, dir_okay=False)

rig_option = click.option(
    "--rig", "rig_path", type=_FILE, help="Rig file; hil/rig.emulated.toml if not given."
)
target_option = click.option(
    "--target",
    "names",
    multiple=True,
    help="A target of the rig; may be repeated. All that are not off, if not given.",
)
run_option = click.option(
    "--run",
    "run_path",
    type=click.Path(path_type=Path),
    help="Run folder or pack; the one that the rig file names if not given.",
)


@click.group(cls=Group)
def command() -> None:
    """Boards and emulated machines on a bench: find them, flash them, replay, compare, report.

    hil/README.md is the guide, docs/hil.md the reference.
    """


@command.command(name="run")
@rig_option
@target_option
@click.option(
    "--suite",
    "suites",
    multiple=True,
    default=("parity",),
    show_default=True,
    help="A suite of hil/suites, or the path of one; may be repeated.",
)
@run_option
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("hil/results"),
    show_default=True,
    help="Folder for junit.xml, result.json, report.html and transcripts.",
)
@click.option("--junit", type=_FILE, help="Write the JUnit XML here instead.")
@click.option(
    "--flash/--no-flash",
    default=True,
    help="Flash the targets, or use the firmware that they hold.",
)
@click.option("--events", type=click.IntRange(min=1), help="Replay this many events of each suite.")
@click.option(
    "--minutes",
    type=click.FloatRange(min=0, min_open=True),
    help="Start no further round of a suite after this many minutes.",
)
@click.option("--chaos", help="Faults on the line, for every suite; see `tinyfin replay --help`.")
@click.option("--wait", "wait_s", type=float, help="Seconds to wait for a board that is in use.")
@emulator_option
@boards_option
@public_key_option
@json_option
def run(
    rig_path: Path | None,
    names: tuple[str, ...],
    suites: tuple[str, ...],
    run_path: Path | None,
    out: Path,
    junit: Path | None,
    flash: bool,
    events: int | None,
    minutes: float | None,
    chaos: str | None,
    wait_s: float | None,
    emulator: str | None,
    public_keys: tuple[Path, ...],
    as_json: bool,
) -> None:
    """Flash, boot, self-test, replay and compare, on all targets at once.

    A target fails until everything is proven. Exit code 4: an answer differs; 5: a target, its line
    or the bench failed (the kind says which); 6: a tool is missing.
    """
    from tinyfin.hil.rigs.rigfile import run_of, select
    from tinyfin.hil.runs import runner as running
    from tinyfin.hil.runs import suites as suite_files
    from tinyfin.hil.runs.display import Display
    from tinyfin.pack.trust import require_trusted, trusted_keys
    from tinyfin.targets import boards
    from tinyfin.targets.flash import run_pack

    claim(out, junit, make_folder=True)
    running.forget_results(out, junit_path=junit)
    rig = _rig(rig_path)
    chosen = select(rig, names)
    what = run_of(rig, run_path)
    keys = trusted_keys(what, public_keys)
    require_trusted(run_pack(what).read_bytes(), keys, what)
    wanted = [suite_files.find(name, rig) for name in suites]
    wanted = running.with_options(wanted, events=events, minutes=minutes, chaos=chaos)
    todo = running.jobs(rig, chosen, wanted, run=what, keys=keys, folder=out, lease_wait_s=wait_s)
    if emulator is not None:
        todo = running.emulated_by(todo, emulator, rig.boards)
    if not flash:
        todo = running.without_flash(todo)
    display = Display()
    try:
        result = running.run_rig(rig, todo, display)
    finally:
        display.close()
    result.options = {
        "target": names,
        "suite": suites,
        "no-flash": not flash,
        "events": events,
        "minutes": minutes,
        "chaos": chaos,
        "wait": wait_s,
        "emulator": emulator,
        "boards": tuple(str(path) for path in boards.named()),
        "public-key": tuple(str(path) for path in public_keys),
    }
    running.write_results(result, out, junit_path=junit)
    emit(result.as_dict(), as_json, "" if as_json else text(result))
    if result.exit_code:
        raise SystemExit(result.exit_code)


@command.command(name="list")
@rig_option
@target_option
@click.option(
    "--boot-s", type=float, default=3.0, show_default=True, help="Seconds to wait for HELLO."
)
@boards_option
@json_option
def list_targets(
    rig_path: Path | None, names: tuple[str, ...], boot_s: float, as_json: bool
) -> None:
    """Show what answers HELLO, and as what. Nothing is flashed; no emulator is started.

    Exit code 5: a board that is not off and that no other job uses does not answer, or is another
    one than the rig file says.
    """
    from tinyfin.errors import TargetError
    from tinyfin.hil.rigs.rigfile import select
    from tinyfin.hil.runs.probe import probe

    rig = _rig(rig_path)
    rows = [probe(rig, name, spec, boot_s) for name, spec in select(rig, names).items()]
    width = max(len(row["name"]) for row in rows)
    lines = [f"{row['name']:{width}}  {row['text']}" for row in rows]
    silent = [row["name"] for row in rows if row.get("failure")]
    emit({"rig": rig.where, "ok": not silent, "targets": rows}, as_json, "\n".join(lines))
    if silent:
        note(
            f"error: {len(silent)} of {len(rows)} not there: {', '.join(silent)}; check power and "
            'cable, compare with `tinyfin hil suggest`, or write off = "why" into the rig file'
        )
        raise SystemExit(TargetError.exit_code)


@command.command(name="suggest")
@click.option(
    "--boot-s", type=float, default=1.0, show_default=True, help="Seconds to wait for HELLO."
)
@click.option(
    "--ask/--no-ask",
    default=True,
    show_default=True,
    help="Open every port and ask who is there; opening resets some boards.",
)
@click.option(
    "--udev",
    is_flag=True,
    help="Print rules of udev instead, which give every port a name of its own.",
)
@json_option
def suggest(boot_s: float, ask: bool, udev: bool, as_json: bool) -> None:
    """Print the stanza of a rig file for what is plugged in.

    With --udev, print rules for a file in /etc/udev/rules.d.
    """
    from tinyfin.errors import TargetError
    from tinyfin.hil.rigs.ports import plugged, stanza, udev_rule
    from tinyfin.hil.runs.probe import greet

    ports = plugged()
    found, stanzas = [], []
    for at, port in enumerate(ports, 1):
        hello, silent = None, None if ask else "was not asked (--no-ask)"
        if ask and port.vid_pid:
            try:
                hello = greet(port.device, boot_s)
            except TargetError as error:
                silent = str(error)
        name = f"board{at}" if hello is None else f"{hello['target']}-{at}"
        words = stanza(port, ports, name=name, hello=hello, silent=silent)
        rule = udev_rule(port, ports, name=name)
        stanzas.append(rule if udev else words)
        facts = {"hello": hello, "silent": silent, "stanza": words, "udev": rule}
        found.append({**port.as_dict(), **facts})
    if not any(port.vid_pid for port in ports):
        note(
            "no USB serial port is plugged in; the emulated rig needs none: "
            "tinyfin hil run --rig hil/rig.emulated.toml"
        )
    emit({"ports": found}, as_json, "\n".join(stanzas))


@command.command(name="suites")
@rig_option
@json_option
def list_suites(rig_path: Path | None, as_json: bool) -> None:
    """List the suites."""
    from tinyfin.hil.runs import suites as suite_files

    rows: dict[str, dict[str, Any]] = {}
    for folder in suite_files.places(_rig(rig_path)):
        for path in sorted(folder.glob("*.toml")):
            if path.stem not in rows:
                suite = suite_files.load(path)
                rows[path.stem] = {"about": suite.about, "needs": suite.needs, "path": str(path)}
    lines = [f"{name:12} {row['about']}" for name, row in rows.items()]
    emit({"suites": rows}, as_json, "\n".join(lines))


@command.command(name="transcript")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--last", type=click.IntRange(min=1), help="Show only this many lines, from the end.")
@json_option
def show(file: Path, last: int | None, as_json: bool) -> None:
    """Show what went over the wire, frame by frame.

    Exit code 3: the file is truncated or damaged; what comes before is shown.
    """
    from tinyfin.errors import InputError
    from tinyfin.hil.links.transcript import describe, entries, read

    transcript = read(file)
    lines = [describe(entry) for entry in entries(transcript)]
    lines = lines if last is None else lines[-last:]
    facts = {
        "about": transcript.about,
        "whole": transcript.whole,
        "fault": transcript.fault,
        "lines": lines,
    }
    emit(facts, as_json, "" if as_json else "\n".join(lines))
    if not transcript.whole:
        note(f"error: {file}: {transcript.fault}")
        raise SystemExit(InputError.exit_code)


@command.command(name="playback")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@run_option
@rig_option
@click.option("--target", "name", help="Play to this target of the rig, as it is flashed now.")
@click.option("--port", help="Play to the terminal at this serial port or URL.")
@boards_option
@public_key_option
@json_option
def play(
    file: Path,
    run_path: Path | None,
    rig_path: Path | None,
    name: str | None,
    port: str | None,
    public_keys: tuple[Path, ...],
    as_json: bool,
) -> None:
    """Play the transcript FILE to a terminal again, and compare its answers with the recorded ones.

    Without --target and --port the terminal is the firmware compiled for this machine, with the
    pack of --run: a failure of the bench can be looked at without the bench. Exit code 4: an answer
    differs; 3: the transcript is of another pack, or truncated.
    """
    from tinyfin.errors import InputError, MismatchError
    from tinyfin.hil.links.transcript import read
    from tinyfin.hil.replay.playback import count, pack_ids, playback
    from tinyfin.hil.rigs.rigfile import run_of
    from tinyfin.hil.runs.probe import reached

    if name is not None and port is not None:
        raise click.UsageError("give --target or --port, not both")
    transcript = read(file)
    rig = _rig(rig_path)
    what = None if port is not None else run_of(rig, run_path)
    with (
        reached(rig, what, public_keys, name=name, port=port) as client,
        stage("playing back", count(transcript), "requests") as playing,
    ):
        packs = pack_ids(run_path or rig.run, public_keys)
        try:
            result = playback(transcript, client, packs=packs, progress=playing.step)
        except InputError as error:
            raise InputError(f"{file}: {error}") from error
    facts = result.as_dict()
    lines = [
        f"{result.sent} requests sent again, {result.compared} answers compared, "
        f"{result.differing} differ"
    ]
    if not result.whole:
        lines.append("it was played up to where the transcript ends early")
    if result.first:
        lines.append(
            "first difference: the answer to {request} at {at_s} s, request {number}".format(
                **result.first
            )
        )
        rows = result.first["differences"]
        lines += ["  {field}: expected {expected}, found {found}".format(**row) for row in rows]
    emit(facts, as_json, "\n".join(lines))
    if not result.whole:
        note(f"error: {file}: {result.fault}")
    if not result.ok:
        equal = result.compared and not result.differing
        raise SystemExit(InputError.exit_code if equal else MismatchError.exit_code)


def _rig(path: Path | None) -> Rig:
    from tinyfin.hil.rigs import rigfile as rig

    return rig.load(path or rig.default_path())


def text(result: RigResult) -> str:
    """The result for people."""
    lines = []
    for target in result.targets:
        for case in target.cases:
            words = str(case.failure) if case.failure else case.note
            if case.failure and not case.reached:
                words = f"{case.failure.kind}: not reached"
            facts = case.facts
            if not words and facts.verdicts:
                words = f"{facts.events} events, {facts.verdicts} verdicts equal"
                if facts.faults:
                    done = sum(filter(None, facts.faults.values()))
                    words += f", {done} faults repaired"
            lines.append(f"{target.name:12} {case.name:12} {case.status.upper():8}{words}".rstrip())
        first = target.first_failure
        if first is not None:
            lines.append(f"{'':12} -> {first.advice}")
    passed, sums = sum(target.ok for target in result.targets), result.totals
    lines += [
        f"targets: {passed} of {len(result.targets)} pass",
        f"events: {sums.events}, lost: {sums.lost}, scored twice: {sums.doubled}, mismatches: "
        f"{sums.mismatches}, unexplained reboots: {sums.unexplained_reboots}",
    ]
    lines += [f"{key}: {path}" for key, path in result.files.items()]
    lines += [t.transcript_stopped for t in result.targets if t.transcript_stopped]
    lines.append("PASS" if result.ok else "FAIL")
    return "\n".join(lines)
