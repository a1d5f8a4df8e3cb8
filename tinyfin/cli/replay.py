# SPDX-License-Identifier: Apache-2.0
"""``tinyfin replay``: transactions on a terminal, every byte compared."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tinyfin.cli.boards import boards_option
from tinyfin.cli.output import DataFile, claim, emit, json_option, note
from tinyfin.cli.trust import public_key_option

if TYPE_CHECKING:
    from tinyfin.config import Config
    from tinyfin.data.events import Stream
    from tinyfin.data.transactions import Transactions
    from tinyfin.hil.replay.replayer import OnReboot

__all__ = ["command", "text"]


@click.command(name="replay", short_help="Replay transactions on a target and compare every byte.")
@click.argument("run", type=click.Path(path_type=Path, exists=True))
@click.argument("data", nargs=-1, required=True, type=DataFile(Path))
@click.option(
    "--target",
    "target_name",
    help="An emulated target of `tinyfin targets`, or host: a process on this machine.",
)
@click.option("--port", help="Serial port, socket://HOST:PORT or exec:PROGRAM of a terminal.")
@click.option(
    "--baud",
    type=click.IntRange(min=1200),
    help="Speed of a serial port [115200]; with --target host, of a line put in front of it.",
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
@click.option(
    "--skip-bad-rows",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Set bad rows of DATA aside into this CSV file.",
)
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
@public_key_option
@boards_option
@json_option
def command(
    run: Path,
    data: tuple[Path, ...],
    target_name: str | None,
    port: str | None,
    baud: int | None,
    limit: int | None,
    warmup: tuple[Path, ...],
    warm_until: str | None,
    config_path: Path | None,
    skip_bad_rows: Path | None,
    count: bool,
    on_reboot: OnReboot,
    checkpoint_events: int | None,
    chaos: str | None,
    report: Path | None,
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
    from tinyfin import config
    from tinyfin.data.events import event_stream
    from tinyfin.data.readers import read
    from tinyfin.errors import MismatchError
    from tinyfin.hil.links import session
    from tinyfin.hil.links.faults import Chaos
    from tinyfin.hil.replay import replay
    from tinyfin.hil.replay.memory_limit import require_memory
    from tinyfin.pack import layouts
    from tinyfin.pack.trust import require_trusted, trusted_keys
    from tinyfin.targets import flash

    if (target_name is None) == (port is None):
        raise click.UsageError("give either --target or --port")
    if warmup and warm_until:
        raise click.UsageError("give either --warmup or --warm-until")
    faults = None if chaos is None else Chaos.parse(chaos)
    claim(report, make_folder=True)
    claim(skip_bad_rows)
    path = flash.run_pack(run)
    keys = trusted_keys(run, public_keys)
    require_trusted(path.read_bytes(), keys, run)
    settings = config.load(config_path or _run_config(run))
    require_memory([*data, *warmup])
    tx = read(list(data), settings, labels=False, skip_bad_rows=skip_bad_rows, progress=note)
    fields = _unfed(run, path.read_bytes(), tx, settings)
    stream = event_stream(tx, settings.data.notices)
    if not warmup:
        _say_what_is_missing(run, tx, settings)
    earlier, stream = _warming(tx, stream, settings, warmup, warm_until)
    if target_name is not None:
        reach = session.reach(run, target_name, keys=keys, icount=count, baud=baud)
    else:
        assert port is not None
        reach = session.at_port(port, baud=baud or 115200)
    with reach as reached:
        reached.client.on_log = lambda level, line: note(f"terminal: {line}")
        # the twin runs the very pack that the terminal runs, in the terminal's layout
        pack = layouts.running(path, reached.client.connect().pack_id, keys)
        result = replay(
            pack,
            tx,
            stream,
            reached.client,
            limit=limit,
            warmup=earlier,
            instructions=reached.instructions,
            target=reached.target,
            keys=keys,
            on_reboot=on_reboot,
            checkpoint_events=checkpoint_events,
            chaos=faults,
        )
        result.baud = reached.baud
        result.options = _options(
            limit=limit,
            warmup=[path.name for path in warmup],
            warm_until=warm_until,
            on_reboot=None if on_reboot == "fail" else on_reboot,
            checkpoint=checkpoint_events,
            chaos=chaos,
        )
        result.flash_bytes, result.ram_bytes = reached.flash_bytes, reached.ram_bytes
    facts = {**result.as_dict(), "fields": fields}
    if report is not None:
        from tinyfin.hil.reporting.page import write

        written = write(report, replay=result, run_dir=run if run.is_dir() else None, tx=tx)
        note(f"report: {written}")
    emit(facts, as_json, "" if as_json else text(facts))
    if not result.ok:
        # the result is out already: an error object on stdout would follow it
        try:
            result.check()
        except MismatchError as error:
            note(f"error: {error}")
        raise SystemExit(4)


def _warming(
    tx: Transactions,
    stream: Stream,
    settings: Config,
    warmup: tuple[Path, ...],
    warm_until: str | None,
) -> tuple[tuple[Transactions, Stream] | None, Stream]:
    """What only warms up, and what is replayed then."""
    from tinyfin.config import parse_moment
    from tinyfin.data.events import event_stream
    from tinyfin.data.readers import read
    from tinyfin.errors import ConfigError

    if warmup:
        before = read(list(warmup), settings, labels=False)
        return (before, event_stream(before, settings.data.notices)), stream
    if warm_until is None:
        return None, stream
    try:
        before_s = parse_moment(warm_until)
    except ValueError as error:
        raise ConfigError(f"--warm-until {warm_until!r}: {error}") from error
    earlier = stream.part(stream.t_mono_s < before_s)
    return (tx, earlier), stream.part(stream.t_mono_s >= before_s)


def _say_what_is_missing(run: Path, tx: Transactions, settings: Config) -> None:
    """Say that no score of this replay is calibrated, where that is so: it compares bytes, but
    people read its scores too."""
    from tinyfin.training.notices import Feed
    from tinyfin.training.run_folder import open_run

    if not (run / "run.json").is_file():
        return
    feed, given = Feed.of(open_run(run)), settings.data.notices
    counts = feed.counts(tx, given, slice(None))
    told = feed.warning(given, counts, "are replayed")
    if told is not None and not counts["as_trained"]:
        note(told)


def _unfed(run: Path, data: bytes, tx: Transactions, settings: Config) -> dict[str, Any]:
    from tinyfin.data.seen import Seen
    from tinyfin.pack.container import parse_pack
    from tinyfin.training.missing_fields import require_fields
    from tinyfin.training.run_folder import open_run

    own = open_run(run) if (run / "run.json").is_file() else None
    program = parse_pack(data).program
    return require_fields(program, Seen.of(tx, settings), own, str(run), note)


def _options(**given: Any) -> dict[str, Any]:
    return {name.replace("_", "-"): value for name, value in given.items() if value}


def _run_config(run: Path) -> Path | None:
    own = run / "config.toml"
    return own if run.is_dir() and own.is_file() else None


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
    counted = facts.get("instructions")
    if counted:
        lines.append(
            f"instructions per transaction: {counted['median']} (median), "
            f"{counted['p99_9']} (99.9%), {counted['max']} (max)"
        )
    return "\n".join(lines)
