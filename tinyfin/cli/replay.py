# SPDX-License-Identifier: Apache-2.0
"""``tinyfin replay``: transactions on a terminal, every byte compared."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tinyfin.cli.boards import boards_option, emulator_option
from tinyfin.cli.output import DataFile, claim, emit, json_option, note, skip_bad_rows_option
from tinyfin.cli.trust import public_key_option

if TYPE_CHECKING:
    from tinyfin.hil.replay.replayer import OnReboot

__all__ = ["command", "text"]


@click.command()
@click.argument("run", type=click.Path(path_type=Path, exists=True))
@click.argument("data", nargs=-1, required=True, type=DataFile(Path))
@click.option(
    "--target",
    "target_name",
    help="An emulated target of `tinyfin targets`, or host: a process on this machine.",
)
@click.option("--port", help="Serial port, socket://HOST:PORT or exec:PROGRAM of a terminal.")
@click.option(
    "--terminal",
    type=click.Path(path_type=Path, exists=True),
    help="With --target: the run whose firmware the terminal runs; RUN was installed there.",
)
@click.option(
    "--baud",
    type=click.IntRange(min=1200),
    help="Speed of a serial port [115200]; with --target host, of a line put in front of it.",
)
@click.option(
    "--baud-up-to",
    type=click.IntRange(min=1200),
    help="With --port: make the line faster, up to this speed, as far as both ends can.",
)
@click.option("--limit", type=click.IntRange(min=1), help="Replay at most this many transactions.")
@click.option(
    "--warmup",
    multiple=True,
    type=DataFile(Path),
    help="Earlier data: its terminals start from the state that it leaves. May be repeated.",
)
@click.option(
    "--warm-until",
    metavar="MOMENT",
    help="Events of DATA before this moment only warm up the state.",
)
@click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path, dir_okay=False),
    help="tinyfin.toml with the column mapping; the run's own if not given.",
)
@skip_bad_rows_option
@click.option(
    "--count/--no-count",
    "count",
    default=True,
    show_default=True,
    help="Count instructions on an emulated target; without, it runs faster.",
)
@click.option(
    "--on-reboot",
    type=click.Choice(["fail", "resume"]),
    default="fail",
    show_default=True,
    help="When the terminal restarts: give up, or restore the last checkpoint and go on.",
)
@click.option(
    "--checkpoint",
    "checkpoint_events",
    type=click.IntRange(min=1),
    metavar="EVENTS",
    help="Events between two comparisons of the state (4096, with --on-reboot resume 1024).",
)
@click.option(
    "--chaos",
    metavar="SPEC",
    help="Do damage on the line, repeatably: e.g. hostile, or "
    "flip=1e-4,drop=1/20000,reboot=1/5000,seed=7 (docs/replay.md).",
)
@click.option(
    "--report",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the report here: one HTML file, and its facts as JSON next to it.",
)
@emulator_option
@public_key_option
@boards_option
@json_option
def command(
    run: Path,
    data: tuple[Path, ...],
    target_name: str | None,
    port: str | None,
    terminal: Path | None,
    baud: int | None,
    baud_up_to: int | None,
    limit: int | None,
    warmup: tuple[Path, ...],
    warm_until: str | None,
    config_path: Path | None,
    skip_bad_rows: str | None,
    count: bool,
    on_reboot: OnReboot,
    checkpoint_events: int | None,
    chaos: str | None,
    report: Path | None,
    emulator: str | None,
    public_keys: tuple[Path, ...],
    as_json: bool,
) -> None:
    """Replay DATA on a terminal that runs the pack of RUN, a run folder or a .tfpack.

    Features, network output, score, action, reasons and flags of every transaction, and the state
    at checkpoints, must equal what this machine computes. The data goes terminal by terminal. An
    emulated target boots the image that `tinyfin flash` or `build` has put there; when there is
    none, it is built first. Exit code 4: something differs, and the output names the first event
    and field; 5: the terminal does not answer.
    """
    from tinyfin.errors import MismatchError
    from tinyfin.hil.replay.workflow import replay_run
    from tinyfin.pack.trust import trusted_keys

    if (target_name is None) == (port is None):
        raise click.UsageError("give either --target or --port")
    if emulator is not None and target_name in (None, "host"):
        raise click.UsageError("--emulator is for an emulated target: give --target")
    if baud_up_to is not None and port is None:
        raise click.UsageError("--baud-up-to is for a serial port: give --port")
    if warmup and warm_until:
        raise click.UsageError("give either --warmup or --warm-until")
    claim(report, make_folder=True)
    claim(skip_bad_rows)
    result = replay_run(
        run,
        data,
        target=target_name,
        port=port,
        terminal=terminal,
        baud=baud,
        baud_up_to=baud_up_to,
        limit=limit,
        warmup=warmup,
        warm_until=warm_until,
        config_path=config_path,
        skip_bad_rows=skip_bad_rows,
        count=count,
        emulator=emulator,
        on_reboot=on_reboot,
        checkpoint_events=checkpoint_events,
        chaos=chaos,
        keys=trusted_keys(run, public_keys),
        report=report,
        note=note,
    )
    facts = {**result.as_dict(), "fields": result.fields}
    emit(facts, as_json, "" if as_json else text(facts))
    if not result.ok:
        # the result is out already: an error object on stdout would follow it
        try:
            result.check()
        except MismatchError as error:
            note(f"error: {error}")
        raise SystemExit(4)


def text(facts: dict[str, Any]) -> str:
    """The result for people."""
    lines = [
        f"{facts['verdicts']} of {facts['transactions']} transactions answered by "
        f"{facts['target']} in {facts['seconds']:.1f} s, {facts['terminals']} terminals",
        f"compared: {', '.join(facts['compared'])}",
        f"mismatches: {facts['mismatches']}",
        f"lost: {facts['lost']}",
        f"scored twice: {facts['doubled']}",
        f"retransmitted: {facts['retransmitted']}",
        "tables: " + ", ".join(f"{n} {w.replace('_', ' ')}" for w, n in facts["tables"].items()),
        f"bytes per transaction: {facts['bytes_up_per_transaction']} up, "
        f"{facts['bytes_down_per_transaction']} down",
    ]
    if facts["line_use"] is not None:
        lines.append(f"line: {facts['line_use']:.1%} of what {facts['baud']} baud carry")
    if facts["chaos"]:
        done = ", ".join(f"{count} {kind}" for kind, count in facts["faults"].items())
        lines.append(f"faults done: {done or 'none'} ({facts['chaos']})")
    if any(facts["repaired"].values()):
        mended = [f"{n} {name.replace('_', ' ')}" for name, n in facts["repaired"].items() if n]
        lines.append(f"repaired: {', '.join(mended)}")
    overruns = facts["device_stats"].get("receive_overruns")
    if overruns:
        lines.append(f"receive overruns: {overruns} bytes came faster than the terminal read them")
    if facts["unexplained_reboots"]:
        lines.append(f"restarts that were not asked for: {facts['unexplained_reboots']}")
    if facts.get("flash_bytes"):
        lines.append(f"flash {facts['flash_bytes']} B, RAM {facts['ram_bytes']} B")
    if facts.get("drift"):
        lines.append(facts["drift"])
    counted = facts.get("instructions")
    if counted:
        lines.append(
            f"instructions per transaction: {counted['median']} (median), "
            f"{counted['p99_9']} (99.9%), {counted['max']} (max)"
        )
    return "\n".join(lines)
