# SPDX-License-Identifier: Apache-2.0
"""The emulated terminal keeps an audit log and makes reports, also through a pulled plug."""

from __future__ import annotations

import os
import random
import signal
import struct
import threading
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from tests.support.kept_terminal import Terminal, until_ended
from tests.support.process import needs_cortex_m
from tests.support.sample import decided
from tests.wire.test_state_log import PACK, score, town
from tinyfin.data.events import event_stream
from tinyfin.data.transactions import Transactions
from tinyfin.errors import TargetError
from tinyfin.field.audit import Kind, Record, Verdict, Verification, alias_of, verify
from tinyfin.field.commands import Opcode
from tinyfin.field.keys import terminal_keys
from tinyfin.field.notices import Notice, make_pages, sign_page
from tinyfin.field.report import COUNTERS, Report, encode, parse_report, require_genuine
from tinyfin.oracle.engine import VERIFY
from tinyfin.pack.container import parse_pack
from tinyfin.pack.signing import DEVELOPMENT_KEY, hash32
from tinyfin.targets import build
from tinyfin.twin import Twin
from tinyfin.wire import audit_frames, field_frames, slot_frames
from tinyfin.wire.client import Client
from tinyfin.wire.event_frames import EventsFrame, field_types
from tinyfin.wire.messages import STATS, Answer, Capability, Request

__all__ = ["town"]

pytestmark = [pytest.mark.live, needs_cortex_m]
ID = bytes(range(1, 9))
KEYS = terminal_keys(hash32(b"fleet"), ID)


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory, town: Transactions) -> Path:
    """The reference pack, with VERIFY for the upper half of the alerts of a terminal."""
    score = Twin(PACK.read_bytes(), terminals=len(town.terminals)).run(town, event_stream(town))
    alerts = score.score_q32[(town.terminal == 0) & (score.action == 1)][:6]
    path = tmp_path_factory.mktemp("verify") / "model.tfpack"
    path.write_bytes(decided(PACK.read_bytes(), verify_q32=int(np.median(alerts))))
    return path


@pytest.fixture(scope="module")
def image(pack: Path) -> Path:
    return build.build("cortex-m4", pack=pack).elf


@pytest.fixture
def terminal(image: Path, tmp_path: Path) -> Terminal:
    return Terminal(image, tmp_path / "flash.bin")


def report_of(client: Client) -> Report:
    report = parse_report(audit_frames.read_report(client))
    require_genuine(report, KEYS.report)
    assert encode(report, KEYS.report) == report
    return report


def verified(client: Client, *reports: Report) -> Verification:
    """The log, compared with heads of reports; it is whole."""
    heads = [head for report in reports if (head := report.audit_head)]
    assert len(heads) == len(reports)
    log = audit_frames.read_audit(client)
    assert log.terminal == ID
    found = verify(log, KEYS.audit, heads)
    assert found.verdict == Verdict.VALID, found.why
    return found


def kinds(records: tuple[Record, ...]) -> list[Kind]:
    return [Kind(record.kind) for record in records]


def test_verdicts_commands_and_restarts_are_in_the_log(
    terminal: Terminal, town: Transactions, pack: Path
) -> None:
    rows = np.flatnonzero(town.terminal == 0)[:600]
    with terminal.on() as (client, _):
        assert client.hello.capabilities & Capability.AUDIT
        assert client.hello.capabilities & Capability.REPORT
        with pytest.raises(TargetError, match="no identity"):
            audit_frames.read_audit(client)
        with pytest.raises(TargetError, match="no identity"):
            audit_frames.read_report(client)
        field_frames.provision(client, ID, KEYS)
        verdicts = score(client, town, rows)
        alerts = [i for i, verdict in enumerate(verdicts) if verdict.action]
        assert len(alerts) > 4
        pages = make_pages([Notice(1, 2, True)], ID, 1)
        field_frames.send_notices(client, [(p, sign_page(p, DEVELOPMENT_KEY)) for p in pages])
        field_frames.command(client, Opcode.ERASE_STATE, DEVELOPMENT_KEY)
        first = report_of(client)
        records = verified(client, first).records
        assert first.audit_head == records[-1].head
        client.reboot()
        client.connect()
        second = report_of(client)
        records = verified(client, first, second).records
        assert second.audit_head == records[-1].head
    begin = [Kind.UNIT_AT_BOOT, Kind.RESTART, Kind.IDENTITY]
    assert kinds(records[:3]) == begin
    assert kinds(records[-3:]) == [Kind.NOTICES, Kind.COMMAND, Kind.RESTART]
    assert records[-2].value & 0xFF == Opcode.ERASE_STATE
    assert records[-3].value == struct.unpack("<I", bytes([1, 0, 1, 0]))[0]
    seen = [record for record in records if record.kind == Kind.VERDICT]
    told = [verdicts[i].action | (verdicts[i].flags & VERIFY) >> 5 for i in alerts]
    assert [record.detail & 3 for record in seen] == told
    assert {1, 3} <= {*told}
    assert [record.note for record in seen] == [verdicts[i].score_q32 >> 16 for i in alerts]
    assert {record.pack for record in seen} == {parse_pack(pack.read_bytes()).pack_id[:4]}
    for record, i in zip(seen, alerts, strict=True):
        first_two = (*verdicts[i].reasons, 0, 0)[:2]
        assert (record.value & 0xFFFF, record.value >> 16) == first_two
        row = rows[i]
        assert record.t_s == town.t_mono_s[row]
        token = int(town.values[row][town.schema.index("token")]) % (1 << 64)
        assert record.alias == alias_of(KEYS.report, record.t_s, token)
    assert records[-1].value == second.boot_nonce != first.boot_nonce


def test_a_report_counts_what_stats_count(
    terminal: Terminal, town: Transactions, pack: Path
) -> None:
    rows = np.flatnonzero(town.terminal == 0)[:40]
    with terminal.on() as (client, _):
        field_frames.provision(client, ID, KEYS)
        score(client, town, rows)
        numbers = [report_of(client).number for _ in range(3)]
        assert numbers == [1, 2, 3]
        report = report_of(client)
        pieces = [
            client.request(Request.REPORT_READ, Answer.REPORT, at.to_bytes(2, "little"))[4:]
            for at in (1, 50, len(report.data) - 1, len(report.data))
        ]
        stats = client.request(Request.STATS_REQUEST, Answer.STATS)
        info = slot_frames.info(client)
    assert pieces == [report.data[1:], report.data[50:], report.data[-1:], b""]
    values = dict(zip(STATS, struct.unpack("<16I", stats[1:65]), strict=True))
    assert report.counters == {name: values[name] for name in COUNTERS}
    assert report.counters["scored"] == len(rows)
    assert report.slots is not None
    assert (report.slots.running, report.slots.floor) == (info.running, info.floor)
    assert report.pack == parse_pack(pack.read_bytes()).pack_id[:8]


def test_a_ring_that_has_come_round_is_whole(terminal: Terminal) -> None:
    """The line waits while a key is replaced, so no record is lost."""
    with terminal.on() as (client, _):
        field_frames.provision(client, ID, KEYS)
        reports = []
        for second in range(80):
            frame = EventsFrame(field_types(PACK.read_bytes()), 100, 10, 0, second)
            while frame.clock(second):  # each of them is a record
                pass
            client.ordered(Request.EVENTS, frame.payload())
            if second % 10 == 9:
                reports.append(report_of(client))
        found = verified(client, *reports)
    assert max(record.value for record in found.records if record.starts_unit) > 5
    assert found.records[-1].sequence > 800
    assert found.lost == 0
    assert reports[-1].audit_lost == 0


def test_a_log_is_valid_after_any_kill(terminal: Terminal, town: Transactions) -> None:
    rng = random.Random(1)
    rows = list(np.flatnonzero(town.terminal == 0))
    reports: list[Report] = []
    with terminal.on() as (client, _):
        field_frames.provision(client, ID, KEYS)
    for _ in range(6):
        with terminal.on() as (client, emulator):
            verified(client, *reports)
            reports.append(report_of(client))
            timer = threading.Timer(rng.uniform(0.0, 0.4), os.kill, (emulator.pid, signal.SIGKILL))
            timer.start()
            try:
                while timer.is_alive():
                    score(client, town, rows[:12])
                    rows = rows[12:]
            except (TargetError, OSError):
                pass
            finally:
                timer.join()
                until_ended(emulator)
    with terminal.on() as (client, _):
        found = verified(client, *reports)
    assert Counter(kinds(found.records))[Kind.RESTART] >= 7
