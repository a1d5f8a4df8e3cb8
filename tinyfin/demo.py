# SPDX-License-Identifier: Apache-2.0
"""The whole workflow: transactions in, a verified stream of verdicts from terminal firmware out."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import numpy as np

from tinyfin import files
from tinyfin.config import Config, from_table
from tinyfin.data.events import SCORE, Stream, event_stream, has_notice
from tinyfin.data.transactions import Transactions
from tinyfin.errors import InputError
from tinyfin.field.audit import Verification
from tinyfin.hil.links.session import Session
from tinyfin.hil.replay import ReplayResult
from tinyfin.hil.replay.with_notices import Noticed
from tinyfin.output_claims import claimed
from tinyfin.results.metrics import Metrics
from tinyfin.training.run_folder import RunFolder, begin_run, checked_path, open_run

__all__ = ["MINIMUM_TRANSACTIONS", "Demo", "run_demo"]

Note = Callable[[str], None]

MINIMUM_TRANSACTIONS = 20_000
MAXIMUM_TRANSACTIONS = 21_000
BUSY = 100
"""Transactions per terminal in the test period that make it worth a state image."""
INSTALLED_TRANSACTIONS = 2_000
"""Replayed with the second pack after it was installed."""
PAST_TRANSACTIONS = 2_000
"""Of one terminal, replayed before it gets notices of them."""
LATER_TRANSACTIONS = 1_000
"""Of the same terminal, replayed after that."""
BURST_S = 3_600
"""From the fraud that is chosen until the notices are made: a card tester's others are known, too.
"""
MOST_NOTICES = 200
"""The newest ones of those that are known by then."""
FLEET_KEY = bytes(range(32))
"""No secret: what the demo signs is signed by the development key too."""
NOTICES = "demo.tfnotices"
AUDIT = "demo.tfaudit"
MARK = "made-by-demo"
SECOND = "second"
"""The folder, in the run's, of the run with another seed."""
SIMULATED = "transactions.parquet"


class Demo:
    """What the demo did. ``facts`` is its JSON, :meth:`text` its last lines."""

    def __init__(
        self,
        run: RunFolder,
        replayed: ReplayResult,
        installed: ReplayResult | None,
        noticed: Noticed | None,
        audited: Verification | None,
        report: Path,
        seconds: dict[str, float],
    ) -> None:
        self.run, self.replayed, self.report, self.seconds = run, replayed, report, seconds
        self.installed = installed
        """Of the second pack; None where the target keeps no packs in flash."""
        self.noticed = noticed
        """None as above, and where no fraud becomes known in time."""
        self.audited = audited
        """The terminal's audit log after the notices; None as above."""

    @property
    def facts(self) -> dict[str, Any]:
        """Everything, for ``--json``: the replay's own result and what was measured before it."""
        metrics = self.run.read(Metrics).populations["all"]
        return {
            **self.replayed.as_dict(),
            "run": str(self.run.path),
            "detection": {
                scorer: {
                    "average_precision": found.average_precision,
                    "recall_at_0.1%": found.recall_at_0_1_percent,
                }
                for scorer, found in metrics.items()
            },
            "pack_bytes": self.run.pack.stat().st_size,
            "installed": None if self.installed is None else self.installed.as_dict(),
            "noticed": None if self.noticed is None else asdict(self.noticed),
            "audit": None
            if self.audited is None
            else {"verdict": self.audited.verdict, "records": len(self.audited.records)},
            "report": str(self.report),
            "steps_s": {step: round(value, 1) for step, value in self.seconds.items()},
        }

    def text(self) -> str:
        """The lines a person reads."""
        facts = self.facts
        lines = []
        for title, name in (
            ("average precision", "average_precision"),
            ("recall at 0.1% false positives", "recall_at_0.1%"),
        ):
            figures = [
                f"{label} {found[name]:.3f}"
                for label, found in self._shown(facts["detection"])
                if math.isfinite(found[name])
            ]
            lines.append(f"{title}: {', '.join(figures) or 'no fraud in the test period'}")
        counted = facts.get("instructions")
        lines += [
            f"pack: {facts['pack_bytes']} bytes",
            f"{facts['target']}: flash {facts['flash_bytes']} bytes, "
            f"RAM {facts['ram_bytes']} bytes",
            "instructions per transaction: "
            + (f"{counted['median']} median, {counted['max']} max" if counted else "not counted"),
            f"transactions replayed: {facts['verdicts']}",
            f"mismatches: {facts['mismatches']}",
            f"lost: {facts['lost']}",
        ]
        if (second := facts["installed"]) is not None:
            lines.append(
                "second pack, installed over the wire and confirmed: "
                f"{second['verdicts']} transactions, {second['mismatches']} mismatches"
            )
        if (told := self.noticed) is not None:
            lines += [
                f"notices, signed, over the wire: {told.notices} in {told.pages} pages, "
                f"{told.fraud} of fraud",
                f"after them: {told.verdicts} transactions, {told.mismatches} mismatches; "
                f"{told.changed} verdicts differ from those without notices",
            ]
        if (log := self.audited) is not None:
            lines.append(f"audit log: {log.verdict}, {len(log.records)} records {log.why}".rstrip())
        return "\n".join([*lines, f"report: {facts['report']}"])

    @staticmethod
    def _shown(detection: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
        shown = [
            ("float", "model_float"),
            ("int8", "model_int8"),
            ("rule: amount and known frauds", "rule_a"),
            ("rule: rate", "rate"),
        ]
        return [(label, detection[name]) for label, name in shown if name in detection]


def run_demo(
    config: Config,
    *,
    data: list[Path] | None = None,
    out: Path = Path("runs"),
    name: str = "demo",
    target_name: str = "cortex-m4",
    note: Note = lambda _: None,
) -> Demo:
    """Simulate (or read ``data``), train, quantize, generate, build, boot, replay; then train with
    another seed, install that pack in the running terminal, replay, confirm, tell the terminal of
    frauds, replay, verify its audit log; report.

    A run of the same name that an earlier demo made is replaced when the new one is trained;
    another one is refused with InputError. Raises what the steps raise; a mismatch is in the
    result.
    """
    with claimed(checked_path(out, name), make_folder=True):
        return _demo(config, data, out / name, target_name, note)


def _demo(
    config: Config, data: list[Path] | None, path: Path, target_name: str, note: Note
) -> Demo:
    from tinyfin import simulator
    from tinyfin.codegen.emit import emit
    from tinyfin.data.readers import read
    from tinyfin.hil.links import session
    from tinyfin.hil.replay import replay
    from tinyfin.hil.reporting import page as report
    from tinyfin.quantization.workflow import quantize
    from tinyfin.targets import build as building
    from tinyfin.targets import catalogue, flash
    from tinyfin.training.requirements import require_packages
    from tinyfin.training.resolve_auto import WITH_LABELS
    from tinyfin.training.workflow import begin, finish

    target = catalogue.get(target_name)
    building.require_tools(target, emulated=True)
    _refuse_others(path, data or [])
    require_packages(config, data or [], [WITH_LABELS], packed=True)
    clock = _Clock(note)
    with files.folder(path, empty=True) as made:
        run = begin_run(RunFolder(made, path), config)
        (made / MARK).touch()
        if data is None:
            clock.step("simulate")
            table = simulator.simulate(config.simulate)
            simulator.write(table, made / SIMULATED)
            note(
                f"{table.num_rows} transactions of {config.simulate.terminals} terminals: "
                f"{path / SIMULATED}"
            )
        clock.step("train")
        begun = begin(run, data or [made / SIMULATED], config, note=note)
        finish(begun, begun.config, note=note)
        del begun
    run = open_run(path)
    data = data or [path / SIMULATED]
    clock.step("quantize")
    quantize(run, note=note)
    clock.step("build")
    generated = run.path / "firmware" / "generated"
    pack = flash.target_pack(run.path, target)
    emit(pack, generated, tflite=run.tflite.read_bytes() if run.tflite.is_file() else None)
    built = building.build(target, generated_dir=generated)
    image = flash.store_image(built, flash.run_folder(run.path))
    clock.step("replay")
    tx = read(data, config)
    warmup, stream, limit = _period(tx, config, run)
    with session.emulated(target, image) as reached:
        note(f"{target.name} booted in the emulator")
        replayed = replay(
            pack.read_bytes(),
            tx,
            stream,
            reached.client,
            limit=limit,
            warmup=None if warmup is None else (tx, warmup),
            instructions=reached.instructions,
            target=reached.target,
        )
    installed = noticed = audited = None
    if target.emulator is not None and target.emulator.kept:
        clock.step("install")
        other = _second_pack(config, data, run, target_name, note)
        with session.reach(run.path, target_name) as reached:
            installed = _install(config, other, tx, reached, note)
            clock.step("notices")
            noticed = _notify(config, run, other, tx, reached, note)
            if noticed is not None:
                clock.step("audit")
                audited = _audit(run, reached, note)
    replayed.options = {"limit": limit} if limit else {}
    if warmup is not None:
        replayed.options["warm-until"] = run.facts().split.until
    replayed.flash_bytes, replayed.ram_bytes = built.flash_bytes, built.ram_bytes
    clock.step("report")
    page = report.write(
        run.path / "report.html",
        replay=replayed,
        run_dir=run.path,
        tx=tx,
        title=f"tinyfin {run.name}",
    )
    clock.step(None)
    return Demo(run, replayed, installed, noticed, audited, page, clock.seconds)


def _second_pack(
    config: Config, data: list[Path], run: RunFolder, target_name: str, note: Note
) -> bytes:
    """A pack for the target, trained with another seed."""
    from tinyfin.quantization.workflow import quantize
    from tinyfin.targets import catalogue, flash
    from tinyfin.training.workflow import begin, finish

    table = dict(config.table)
    model = cast("Mapping[str, object]", table.get("model", {}))
    table["model"] = {**model, "seed": config.model.seed + 1}
    other = from_table(table, path=config.path)
    with files.folder(run.path / SECOND, empty=True) as made:
        begun = begin(begin_run(RunFolder(made, run.path / SECOND), other), data, other, note=note)
        finish(begun, begun.config, note=note)
    second = open_run(run.path / SECOND)
    quantize(second, note=note)
    return flash.target_pack(second.path, catalogue.get(target_name)).read_bytes()


def _install(
    config: Config, pack: bytes, tx: Transactions, reached: Session, note: Note
) -> ReplayResult:
    """A pack into the slot of a terminal that runs another one's firmware."""
    from tinyfin.hil.replay import replay
    from tinyfin.wire import slot_frames

    client = reached.client
    client.connect()
    slot_frames.install(client, pack)
    slot_frames.command(client, slot_frames.Command.ACTIVATE)
    client.reboot()
    result = replay(
        pack,
        tx,
        event_stream(tx, config.data.notices),
        client,
        limit=INSTALLED_TRANSACTIONS,
        instructions=reached.instructions,
        target=reached.target,
    )
    slots = slot_frames.command(client, slot_frames.Command.CONFIRM)
    note(f"pack {slots.active_tag}... is confirmed, in {slots.active.name.lower()}")
    return result


def _notify(
    config: Config, run: RunFolder, pack: bytes, tx: Transactions, reached: Session, note: Note
) -> Noticed | None:
    """Signed notices to the terminal with the most known frauds, of what it has replayed."""
    from tinyfin.field.keys import terminal_keys
    from tinyfin.field.notices import Notice, make_pages, parse_pages, sign_page
    from tinyfin.hil.replay.chunks import by_terminal
    from tinyfin.hil.replay.with_notices import replay_with_notices
    from tinyfin.pack.container import parse_pack
    from tinyfin.pack.signing import DEVELOPMENT_KEY
    from tinyfin.wire import field_frames

    fraud = has_notice(tx, config.data.notices) & (tx.label == 1)
    fraud &= tx.label_known_s < tx.t_mono_s.max()
    most = int(np.bincount(tx.terminal[fraud], minlength=len(tx.terminals)).argmax())
    rows = np.flatnonzero(tx.terminal == most)
    rows = rows[np.argsort(tx.t_mono_s[rows], kind="stable")]
    frauds_known_s = np.sort(tx.label_known_s[rows[fraud[rows]]])
    now_s = int(frauds_known_s[len(frauds_known_s) // 4]) + BURST_S if len(frauds_known_s) else 0
    middle = int(np.searchsorted(tx.t_mono_s[rows], now_s))
    if not 0 < middle < len(rows):
        return None
    own = tx.take(rows[max(0, middle - PAST_TRANSACTIONS) : middle + LATER_TRANSACTIONS])
    stream = event_stream(own, "none")
    (past,) = by_terminal(own, stream.part(stream.t_mono_s < now_s))
    (later,) = by_terminal(own, stream.part(stream.t_mono_s >= now_s))
    known = has_notice(past.tx, config.data.notices) & (past.tx.label_known_s <= now_s)
    at = np.flatnonzero(known)[-MOST_NOTICES:]
    field = parse_pack(pack).token_field
    tokens = past.tx.values[:, field].view(np.uint64) if field is not None else past.tx.id * 0
    id = (most + 1).to_bytes(8, "big")
    notices = [
        Notice(int(past.tx.id[i]), int(past.tx.t_mono_s[i]), bool(past.tx.label[i]), int(tokens[i]))
        for i in at
    ]
    pages = make_pages(notices, id, first=1)
    file = run.path / NOTICES
    files.write(file, b"".join(sign_page(page, DEVELOPMENT_KEY) for page in pages))
    field_frames.provision(reached.client, id, terminal_keys(FLEET_KEY, id))
    note(f"terminal {past.name} is provisioned as {id.hex()}; its notices: {file}")
    return replay_with_notices(
        pack, past, parse_pages(file.read_bytes(), file), later, reached.client
    )


def _audit(run: RunFolder, reached: Session, note: Note) -> Verification:
    """The terminal's audit log, held to the head in its report."""
    from tinyfin.field.audit import verify
    from tinyfin.field.keys import terminal_keys
    from tinyfin.field.report import parse_report, require_genuine
    from tinyfin.wire import audit_frames

    report = parse_report(audit_frames.read_report(reached.client))
    log = audit_frames.read_audit(reached.client)
    keys = terminal_keys(FLEET_KEY, log.terminal)
    require_genuine(report, keys.report)
    files.write(run.path / AUDIT, log.encode())
    note(f"its audit log: {run.path / AUDIT}")
    return verify(log, keys.audit, [report.audit_head] if report.audit_head else [])


class _Clock:
    """Says which step begins, and keeps how long each took."""

    def __init__(self, note: Note) -> None:
        self.note = note
        self.seconds: dict[str, float] = {}
        self.begun: tuple[str, float] | None = None

    def step(self, name: str | None) -> None:
        now = time.monotonic()
        if self.begun is not None:
            self.seconds[self.begun[0]] = now - self.begun[1]
        self.begun = None if name is None else (name, now)
        if name is not None:
            self.note(f"== {name}")


def _refuse_others(folder: Path, data: list[Path]) -> None:
    """InputError when somebody else has something at that name, or the data is there."""
    for file in data:
        if file.resolve().is_relative_to(folder.resolve()):
            raise InputError(
                f"{file}: is in the folder that the demo replaces; move it, or choose another "
                "--name"
            )
    if folder.exists() and any(folder.iterdir()) and not (folder / MARK).is_file():
        raise InputError(
            f"{folder}: is there and no demo made it; choose another --name or remove it"
        )


def _period(
    tx: Transactions, config: Config, run: RunFolder
) -> tuple[Stream | None, Stream, int | None]:
    """Events that warm up (None: a cold start), events to replay, and at most how many scores.

    The test period from a warm state, when its terminals are busy; a state image per handful of
    transactions would only measure the transfer of images, so quiet terminals are replayed from
    their first transaction on.
    """
    from tinyfin.config import parse_moment

    stream = event_stream(tx, config.data.notices)
    until_s = parse_moment(run.facts().split.until)
    after = stream.t_mono_s >= until_s
    scored = stream.index[after & (stream.kind == SCORE)]
    terminals = len(np.unique(tx.terminal[scored]))
    if len(scored) < max(MINIMUM_TRANSACTIONS, BUSY * terminals):
        return None, stream, MAXIMUM_TRANSACTIONS
    return stream.part(~after), stream.part(after), MAXIMUM_TRANSACTIONS
