# SPDX-License-Identifier: Apache-2.0
"""A replay from its beginning: read the data, reach the terminal, compare, write the report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from tinyfin.config import Config, load, parse_moment
from tinyfin.data.events import Stream, event_stream
from tinyfin.data.memory_tables import Sources, as_files
from tinyfin.data.readers import read
from tinyfin.data.seen import Seen
from tinyfin.data.transactions import Transactions
from tinyfin.errors import ConfigError, InputError
from tinyfin.hil.links import session
from tinyfin.hil.links.faults import Chaos
from tinyfin.hil.links.session import Session
from tinyfin.hil.replay.memory_limit import require_memory
from tinyfin.hil.replay.replayer import OnReboot, replay
from tinyfin.hil.replay.result import ReplayResult
from tinyfin.hil.reporting import page
from tinyfin.pack import layouts
from tinyfin.pack.trust import keys_beside, require_trusted
from tinyfin.targets import flash
from tinyfin.training.missing_fields import require_fields
from tinyfin.training.notices import Feed
from tinyfin.training.run_folder import RunFolder, open_run

__all__ = ["replay_run"]

Note = Callable[[str], None]


def replay_run(
    run: RunFolder | str | Path,
    data: Sources,
    *,
    target: str | None = None,
    port: str | None = None,
    terminal: str | Path | None = None,
    baud: int | None = None,
    baud_up_to: int | None = None,
    limit: int | None = None,
    warmup: Sources = (),
    warm_until: str | None = None,
    config_path: str | Path | None = None,
    skip_bad_rows: str | Path | None = None,
    count: bool = True,
    emulator: str | None = None,
    on_reboot: OnReboot = "fail",
    checkpoint_events: int | None = None,
    chaos: str | None = None,
    keys: Sequence[bytes] | None = None,
    report: str | Path | None = None,
    note: Note = lambda _: None,
) -> ReplayResult:
    """Replay transactions on a terminal that runs the pack of ``run`` (a run folder or a .tfpack),
    and compare every byte of its answers with the twin's.

    target: an emulated target, or "host"; port: a serial port or URL where a terminal answers; one
    of the two. emulator: "qemu" (if None) or "renode". terminal: the run whose firmware the
    emulated target runs, where the pack of ``run`` was installed later; ``run`` itself if None.
    data, warmup: files, or tables of pandas, Polars or Arrow; terminals start from the state that
    ``warmup``, or the events before ``warm_until``, leave. keys: public keys that are
    trusted; the run's own if None. report: an HTML file to write. The other arguments are those of
    ``tinyfin replay``. A difference is in the result: :meth:`ReplayResult.check` raises it. Raises
    what reading, building and reaching the terminal raise.
    """
    if (target is None) == (port is None):
        raise InputError("give either a target or a port")
    faults = None if chaos is None else Chaos.parse(chaos)
    place = run.path if isinstance(run, RunFolder) else Path(run)
    own = open_run(place) if (place / "run.json").is_file() else None
    path = flash.run_pack(place)
    keys = keys_beside(place) if keys is None else keys
    program = require_trusted(path.read_bytes(), keys, place).program
    config = load(config_path or _config_of(place))
    with as_files(data) as files, as_files(warmup) as earlier_files:
        if earlier_files and warm_until is not None:
            raise InputError("give either earlier data to warm up with, or a moment of these data")
        require_memory([*files, *earlier_files])
        tx = read(files, config, labels=False, skip_bad_rows=skip_bad_rows, progress=note)
        before = read(earlier_files, config, labels=False) if earlier_files else None
        names = [file.name for file in earlier_files]
    fields = require_fields(program, Seen.of(tx, config), own, str(place), note)
    if before is None and own is not None:
        _say_what_is_missing(own, tx, config, note)
    warm, stream = _warming(tx, before, config, warm_until)
    runs = place if terminal is None else Path(terminal)
    with _reached(runs, target, port, baud, keys, count, emulator) as reached:
        reached.client.speed_up_to = baud_up_to or 0
        reached.client.on_log = lambda level, line: note(f"terminal: {line}")
        # the twin runs the very pack that the terminal runs, in the terminal's layout
        pack = layouts.running(path, reached.client.connect().pack_id, keys)
        result = replay(
            pack,
            tx,
            stream,
            reached.client,
            limit=limit,
            warmup=warm,
            instructions=reached.instructions,
            target=reached.target,
            keys=keys,
            on_reboot=on_reboot,
            checkpoint_events=checkpoint_events,
            chaos=faults,
        )
        if reached.executed is not None:
            note(f"{reached.executed():,} instructions were executed, start-up included")
        result.baud = reached.baud if baud_up_to is None else reached.client.baud
        result.flash_bytes, result.ram_bytes = reached.flash_bytes, reached.ram_bytes
    result.fields = fields.as_json()
    result.options = _options(
        limit=limit,
        warmup=names,
        warm_until=warm_until,
        on_reboot=None if on_reboot == "fail" else on_reboot,
        checkpoint=checkpoint_events,
        chaos=chaos,
        emulator=emulator,
    )
    if report is not None:
        written = page.write(
            report, replay=result, run_dir=place if place.is_dir() else None, tx=tx
        )
        note(f"report: {written}")
    return result


def _config_of(place: Path) -> Path | None:
    own = place / "config.toml"
    return own if own.is_file() else None


def _reached(
    place: Path,
    target: str | None,
    port: str | None,
    baud: int | None,
    keys: Sequence[bytes],
    count: bool,
    emulator: str | None,
) -> AbstractContextManager[Session]:
    if target is not None:
        return session.reach(place, target, keys=keys, icount=count, baud=baud, emulator=emulator)
    assert port is not None
    return session.at_port(port, baud=baud or 115200)


def _warming(
    tx: Transactions, before: Transactions | None, config: Config, warm_until: str | None
) -> tuple[tuple[Transactions, Stream] | None, Stream]:
    """What only warms up, and what is replayed then."""
    stream = event_stream(tx, config.data.notices)
    if before is not None:
        return (before, event_stream(before, config.data.notices)), stream
    if warm_until is None:
        return None, stream
    try:
        before_s = parse_moment(warm_until)
    except ValueError as error:
        raise ConfigError(f"--warm-until {warm_until!r}: {error}") from error
    return (tx, stream.part(stream.t_mono_s < before_s)), stream.part(stream.t_mono_s >= before_s)


def _say_what_is_missing(run: RunFolder, tx: Transactions, config: Config, note: Note) -> None:
    """Say that no score of this replay is calibrated, where that is so: it compares bytes, but
    people read its scores too."""
    feed, given = Feed.of(run), config.data.notices
    counts = feed.counts(tx, given, slice(None))
    warning = feed.warning(given, counts, "are replayed")
    if warning is not None and not counts["as_trained"]:
        note(warning)


def _options(**given: object) -> dict[str, object]:
    return {name.replace("_", "-"): value for name, value in given.items() if value}
