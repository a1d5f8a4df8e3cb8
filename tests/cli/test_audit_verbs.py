# SPDX-License-Identifier: Apache-2.0
"""Audit logs and reports from the command line; the terminal is a model of it."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.audit_writer import Writer
from tests.support.cli import tinyfin as run
from tests.support.cli import tinyfin_json
from tinyfin.field.audit import Head
from tinyfin.field.keys import load_fleet_key, terminal_keys
from tinyfin.field.report import Report, Tag, encode, encode_audit, encode_counters
from tinyfin.wire.messages import Capability, Request

ID = bytes(range(1, 9))


def tinyfin(line: str, code: int = 0) -> str:
    return run(line, code=code).output


class Terminal:
    """A client of a modelled terminal: its frames hold two records, or 30 bytes of a report."""

    def __init__(self, writer: Writer, report: bytes) -> None:
        self.writer, self.report = writer, report
        self.works = True
        self.link = SimpleNamespace(name="modelled")
        self.hello = SimpleNamespace(capabilities=Capability.AUDIT | Capability.REPORT)

    def connect(self) -> None:
        pass

    def request(self, request: Request, answer: int, payload: bytes = b"", **_: Any) -> bytes:
        if request == Request.CHALLENGE_REQUEST:
            return b"\1" + ID + bytes(24)
        (at,) = struct.unpack("<H", payload)
        if request == Request.REPORT_READ:
            return struct.pack("<HH", len(self.report), at) + self.report[at : at + 30]
        data, places = self.writer.data, self.writer.unit_places
        head = struct.pack("<HHHB", at, len(data) // 32, places, self.works)
        return head + data[32 * at : 32 * at + 64]


@pytest.fixture
def terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Provisioned with fleet.key, at the port `modelled`."""
    monkeypatch.chdir(tmp_path)
    tinyfin("keygen fleet.key --kind fleet")
    keys = terminal_keys(load_fleet_key("fleet.key"), ID)
    writer = Writer(keys.audit)
    for _ in range(5):
        writer.record(value=3 | 9 << 16)
    sections = (
        (Tag.COUNTERS, encode_counters([12, 0, 5])),
        (Tag.AUDIT, encode_audit(Head(writer.sequence, writer.mac))),
        (77, b"of a newer firmware"),
    )
    model = Terminal(writer, encode(Report(ID, 9, 1, b"pack id.", 60, sections), keys.report).data)

    @contextlib.contextmanager
    def at_port(port: str, *, baud: int = 115200) -> Iterator[SimpleNamespace]:
        yield SimpleNamespace(client=model)

    monkeypatch.setattr("tinyfin.hil.links.session.at_port", at_port)
    return model


VERIFY = "audit verify a.tfaudit --fleet-key fleet.key"


def read() -> None:
    tinyfin("audit read --port modelled --out a.tfaudit")
    tinyfin("report read --port modelled --out a.tfreport")


def test_a_log_is_read_verified_and_shown(terminal: Terminal) -> None:
    read()
    assert Path("a.tfaudit").read_bytes() == terminal.writer.file(ID)
    assert Path("a.tfreport").read_bytes() == terminal.report
    said = tinyfin(f"{VERIFY} --report a.tfreport")
    assert said.strip() == "VALID: records 1 to 6"
    assert "no head to compare with" in tinyfin(VERIFY)
    facts = tinyfin_json(f"{VERIFY} --head 6:{terminal.writer.mac.hex()}")
    assert (facts["verdict"], facts["records"], facts["last"]) == ("VALID", 6, 6)
    shown = tinyfin("audit show a.tfaudit")
    assert "UNIT_AT_BOOT" in shown
    assert "decline, reasons 3, 9" in shown
    assert len(tinyfin_json("audit show a.tfaudit")["records"]) == 6


def test_a_log_that_is_not_valid_ends_with_4(terminal: Terminal) -> None:
    read()
    terminal.writer.ring[0][5] = b"\xff" * 32
    tinyfin("audit read --port modelled --out a.tfaudit")
    said = tinyfin(f"{VERIFY} --report a.tfreport", code=4)
    assert "a.tfaudit: TRUNCATED: it ends with record 5; the terminal had 6" in said
    terminal.writer.ring[0][2] = bytes(range(32))
    tinyfin("audit read --port modelled --out a.tfaudit")
    assert "CORRUPT: record 3, at place 2 of unit 0" in tinyfin(VERIFY, code=4)


def test_a_report_is_shown_and_checked(terminal: Terminal) -> None:
    read()
    facts = tinyfin_json("report show a.tfreport --fleet-key fleet.key")
    assert facts["audit_head"] == f"6:{terminal.writer.mac.hex()}"
    assert facts["counters"] == {"scored": 12, "committed": 0, "clock_clamps": 5}
    assert facts["unknown_sections"] == [77]
    assert "scored" in tinyfin("report show a.tfreport")
    data = bytearray(terminal.report)
    data[40] ^= 1
    Path("a.tfreport").write_bytes(data)
    tinyfin("report show a.tfreport")
    said = tinyfin("report show a.tfreport --fleet-key fleet.key", code=3)
    assert "a.tfreport: its MAC is not that of terminal 0102030405060708" in said
    tinyfin(f"{VERIFY} --report a.tfreport", code=3)


def test_a_report_of_another_terminal(terminal: Terminal) -> None:
    read()
    keys = terminal_keys(load_fleet_key("fleet.key"), ID[::-1])
    other = encode(Report(ID[::-1], 9, 1, bytes(8), 0), keys.report)
    Path("a.tfreport").write_bytes(other.data)
    said = tinyfin(f"{VERIFY} --report a.tfreport", code=3)
    assert "is a report of terminal 0807060504030201" in said


def test_terminals_without_a_log_or_an_identity(terminal: Terminal) -> None:
    terminal.works = False
    said = tinyfin("audit read --port modelled --out a.tfaudit", code=5)
    assert "has no identity yet" in said
    terminal.report = b""
    assert "has no identity" in tinyfin("report read --port modelled --out a.tfreport", code=5)
    terminal.hello.capabilities = Capability.INSTALL
    said = tinyfin("audit read --port modelled --out a.tfaudit", code=5)
    assert "keeps no audit log" in said


def test_a_log_that_changes_meanwhile(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    request = terminal.request

    def busy(asked: Request, *arguments: Any, **more: Any) -> bytes:
        if asked == Request.AUDIT_READ and arguments[1] == b"\0\0":
            terminal.writer.record()
        return request(asked, *arguments, **more)

    monkeypatch.setattr(terminal, "request", busy)
    said = tinyfin("audit read --port modelled --out a.tfaudit", code=5)
    assert "changes while it is read" in said
