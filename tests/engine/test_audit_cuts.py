# SPDX-License-Identifier: Apache-2.0
"""The audit log of the firmware, cut at any flash operation by a simulator that links it.

``firmware/test/auditcut.c`` walks audit.c, keys.c, journal.c and slots.c over a simulated flash and
writes down what flash holds now and then; the verifier judges it.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.support.audit_dumps import AUDIT_KEY, COUNTERS, ID, REPORT_KEY, Dump, read_dumps
from tests.support.native import LIBRARY, PORT, TEST, WARNINGS, compiler
from tests.support.process import ROOT, call
from tests.support.switched_off import switched_off
from tinyfin.codegen import monocypher
from tinyfin.errors import InputError
from tinyfin.field.audit import (
    RECORD_BYTES,
    Head,
    Kind,
    Record,
    Verdict,
    Verification,
    alias_of,
    parse_record,
    verify,
)
from tinyfin.field.report import encode, parse_report, require_genuine

SOURCE = ROOT / "firmware" / "src" / "slots"
STEPS = int(os.environ.get("AUDITCUT_STEPS", "300000"))
NAMES = ("audit", "report", "keys", "journal", "slots")


def build(folder: Path, sources: Path = SOURCE, *flags: str) -> Path:
    program = folder / "auditcut"
    crypto = monocypher.obtain(ROOT / ".pio" / "tinyfin")
    includes = [f"-I{path}" for path in (LIBRARY / "include", sources, SOURCE.parent)]
    includes += [f"-I{ROOT / 'firmware' / 'ports'}", f"-isystem{crypto}"]
    files = [TEST / "auditcut.c", *(sources / f"{name}.c" for name in NAMES)]
    files += [SOURCE.parent / "bytes.c", TEST / "crc32_fast.c", PORT]
    files.append(crypto / "monocypher.c")
    options = ["-O2", "-std=gnu11", "-DTFIN_PORT_FLASH", *(f"-D{d}" for d in monocypher.DEFINES)]
    call(compiler(), *options, *flags, *includes, *files, "-o", program)
    return program


def judged(dump: Dump) -> Verification:
    """The verdict on a dump, and what its records say of cards. AssertionError, InputError."""
    found = verify(dump.log, AUDIT_KEY, dump.heads)
    for record in found.records:
        if record.kind == Kind.VERDICT:
            alias = alias_of(REPORT_KEY, record.t_s, record.note)
            assert record.alias == alias, "an alias is that of the card and the day"
    report = parse_report(dump.report)
    require_genuine(report, REPORT_KEY)
    assert report == encode(report, REPORT_KEY), "a report is what the host would have made"
    assert report.counters == COUNTERS
    assert report.audit_head == (dump.heads[-1] if dump.heads else report.audit_head)
    return found


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("auditcut")
    return build(folder, SOURCE, *(flag for flag in WARNINGS if flag != "-Wconversion"))


@pytest.fixture(scope="module")
def dumps(program: Path) -> list[Dump]:
    """Those of one walk with whole and half rings of all shapes."""
    out = program.with_suffix(".dumps")
    call(program, 20000, 5, out)
    return list(read_dumps(out))


def test_the_log_is_valid_after_any_cut(program: Path, tmp_path: Path) -> None:
    for seed in (1, 2, 3):
        said = call(
            program, STEPS // 3, seed, tmp_path / "dumps", deadline_s=1200 + STEPS / 500
        ).stdout
        print(said)
        boots, operations, cuts, records, _, restarts, units, written = (
            int(n) for n in re.findall(r"\d+", said)
        )
        assert said.rstrip().endswith("nothing violated")
        assert min(operations, cuts, records, restarts, units) > boots // 10
        every = list(read_dumps(tmp_path / "dumps"))
        assert len(every) == written > boots // 100
        verdicts: Counter[str] = Counter()
        for dump in every:
            found = judged(dump)
            assert found.verdict == (Verdict.GAP if found.lost else Verdict.VALID), found.why
            verdicts[found.verdict] += 1
            verdicts["torn"] += len(found.torn)
        assert min(verdicts["VALID"], verdicts["GAP"]) > len(every) // 10
        print(dict(verdicts))


def test_a_worn_ring_is_given_up(program: Path) -> None:
    assert call(program, "worn").stdout == "nothing violated\n"


def test_under_sanitizers(tmp_path: Path) -> None:
    checked = build(tmp_path, SOURCE, "-g", "-fsanitize=address,undefined")
    assert call(checked, "worn", deadline_s=600).stdout == "nothing violated\n"
    said = call(checked, 3000, 7, tmp_path / "dumps", deadline_s=600).stdout
    assert said.rstrip().endswith("nothing violated")


# ------------------------------------------------------------------------------------- tampering


def whole(dumps: list[Dump], records: int = 12) -> list[tuple[Dump, Verification]]:
    """Dumps that are VALID and have some records."""
    found = [(dump, verify(dump.log, AUDIT_KEY, dump.heads)) for dump in dumps]
    return [x for x in found if x[1].verdict == Verdict.VALID and len(x[1].records) >= records]


def places_of(dump: Dump, record: Record) -> list[int]:
    """Where a record stands in the ring."""
    places = [place for unit in dump.log.units for place in unit]
    return [i for i, data in enumerate(places) if parse_record(data) == record]


def changed(dump: Dump, place: int, data: bytes) -> Dump:
    at = place * RECORD_BYTES
    ring = dump.log.data
    return replace(dump, log=replace(dump.log, data=ring[:at] + data + ring[at + len(data) :]))


def is_erased_next(dump: Dump, found: Verification, record: Record) -> bool:
    """Whether it is in the unit of which damage is not told."""
    newest = max(r.value for r in found.records if r.starts_unit)
    (place, *_) = places_of(dump, record)
    index = place // dump.log.unit_places
    return newest + 1 >= len(dump.log.units) and index == (newest + 1) % len(dump.log.units)


def test_any_flipped_bit_of_a_record_is_named(dumps: list[Dump]) -> None:
    flips = 0
    for dump, found in whole(dumps)[:20]:
        records = [r for r in found.records if not is_erased_next(dump, found, r)]
        for record in records[:: max(1, len(records) // 12)]:
            places = places_of(dump, record)
            for bit in range(0, 256, 7):
                data = bytearray(dump.log.units[0][0])
                tampered = dump
                for place in places:  # a record that stands twice: where it counts, and its copy
                    at = place * RECORD_BYTES
                    data = bytearray(dump.log.data[at : at + RECORD_BYTES])
                    data[bit // 8] ^= 1 << bit % 8
                    tampered = changed(tampered, place, bytes(data))
                now = verify(tampered.log, AUDIT_KEY, dump.heads)
                flips += 1
                # the record before a restart that may be torn is missed by the head alone
                if now.verdict == Verdict.VALID:
                    assert record.sequence in now.torn
                else:
                    assert now.verdict in (Verdict.CORRUPT, Verdict.TRUNCATED, Verdict.FORKED)
                    assert now.why
    assert flips > 3000


def test_a_log_without_its_last_records_is_truncated(dumps: list[Dump]) -> None:
    for erased in (b"\0", b"\xff"):
        for dump, found in whole(dumps)[:30]:
            for count in (1, 2, 5):
                tampered = dump
                for record in found.records[-count:]:
                    for place in places_of(dump, record):
                        tampered = changed(tampered, place, erased * RECORD_BYTES)
                now = verify(tampered.log, AUDIT_KEY, [found.records[-1].head])
                assert now.verdict in (Verdict.TRUNCATED, Verdict.CORRUPT)
                last = found.records[-1].sequence
                assert str(last) in now.why or str(last - count + 1) in now.why


def test_an_older_ring_is_truncated_and_one_that_went_on_is_forked(program: Path) -> None:
    """The same flash twice: what one terminal told is held against the log of the other."""
    out = program.with_suffix(".twice")
    call(program, 300, 11, out)
    *_, before, after = list(read_dumps(out))
    heads = [*before.heads, *after.heads]
    assert verify(before.log, AUDIT_KEY, heads).verdict == Verdict.TRUNCATED
    found = verify(after.log, AUDIT_KEY, heads)
    assert found.verdict in (Verdict.VALID, Verdict.GAP)
    for record in found.records:
        other = Head(record.sequence, bytes(8))
        forked = verify(after.log, AUDIT_KEY, [other])
        assert forked.verdict == Verdict.FORKED
        assert f"record {record.sequence} " in forked.why


def test_a_missing_unit_is_named(dumps: list[Dump]) -> None:
    seen = 0
    for dump, found in whole(dumps):
        starts = [record for record in found.records if record.starts_unit]
        steps = [record.value for record in starts]
        if len(steps) < 3 or starts[-1].sequence - starts[-2].sequence < 4:
            continue
        size = dump.log.unit_places
        index = steps[-2] % len(dump.log.units)
        for noise in (b"\0", b"\xff", b"\x5a"):
            now = changed(dump, index * size, noise * RECORD_BYTES * size)
            verdict = verify(now.log, AUDIT_KEY, dump.heads)
            assert verdict.verdict == Verdict.CORRUPT
            assert f"record {starts[-1].sequence} is there again" in verdict.why
        seen += 1
    assert seen > 5


def test_another_key_verifies_nothing(dumps: list[Dump]) -> None:
    found = verify(dumps[0].log, bytes(32))
    assert (found.verdict, found.records) == (Verdict.CORRUPT, ())
    assert "another fleet key" in found.why


# -------------------------------------------------------------------------------------- sabotage


@dataclass(frozen=True)
class Rule:
    """A rule that is switched off: in a copy of ``file``, ``text`` becomes ``instead``."""

    name: str
    file: str
    text: str
    instead: str
    violates: str
    """What is said of it: by the simulator, or by the verifier."""


RULES = [
    Rule(
        "the chain's key is not stepped",
        "keys.c",
        "        tfin_port_hash_end(&hash, piece);\n",
        "",
        "the key of a full unit is gone",
    ),
    Rule(
        "a unit is erased and no key is stepped",
        "audit.c",
        "(void)tfin_slots_renew(a->slots, tfin_keys_step_audit, last);",
        "(void)last;",
        "a restart is written",
    ),
    Rule(
        "a unit is entered that was not erased",
        "audit.c",
        "} else if (erase(a, next_unit(a))) {",
        "} else if (1) {",
        "what is programmed was erased before, and surely",
    ),
    Rule(
        "a record goes where a cut may have begun",
        "audit.c",
        "uint32_t place = a->next + 1u;",
        "uint32_t place = a->next;",
        "what is programmed was erased before, and surely",
    ),
    Rule(
        "a boot that was cut is forgotten",
        "audit.c",
        "(uint16_t)(a->slots->journal.opened - a->noted) != RENEWAL ||",
        "",
        "what is programmed was erased before, and surely",
    ),
    Rule(
        "what is lost is not counted",
        "audit.c",
        "    a->lost = (uint8_t)(a->lost + (a->lost < UINT8_MAX));\n",
        "",
        "a record that is not written is counted",
    ),
    Rule(
        "a record that a cut left, and that reads only now, counts",
        "audit.c",
        "memcmp(&r, &before, sizeof r) == 0)",
        "0)",
        "a restart is written",
    ),
    Rule(
        "the head of a unit is read when its key is gone",
        "audit.c",
        "a->next != 0 ? &last : NULL, TFIN_AUDIT_UNIT_AT_BOOT",
        "a->next != 0 ? tfin_port_flash_at(address_of(a, a->unit, a->next - 1u)) : NULL, "
        "TFIN_AUDIT_UNIT_AT_BOOT",
        "CORRUPT",
    ),
    Rule(
        "an alias does not change with the day",
        "audit.c",
        "const uint32_t day = t_s / DAY_S;",
        "const uint32_t day = t_s / DAY_S * 0u;",
        "an alias is that of the card and the day",
    ),
    Rule(
        "the MAC is over a part of the report",
        "report.c",
        "    tfin_port_hash_update(&o->hash, o->piece, size);\n",
        "    tfin_port_hash_update(&o->hash, o->piece, size < 20u ? size : 20u);\n",
        "its MAC is not that of terminal " + ID.hex(),
    ),
]


def complaint(dump: Dump) -> str:
    """What is wrong with a dump; empty when nothing is."""
    try:
        found = judged(dump)
    except (AssertionError, InputError) as error:
        return str(error)
    return "" if found.verdict in (Verdict.VALID, Verdict.GAP) else str(found.verdict)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_a_rule_that_is_switched_off_is_missed(rule: Rule, tmp_path: Path) -> None:
    copy = switched_off(SOURCE, rule.file, rule.text, rule.instead, tmp_path)
    sabotaged = build(tmp_path, copy, "-w")
    done = call(sabotaged, 60000, 1, tmp_path / "dumps", code=None, deadline_s=600)
    if done.returncode != 0:
        assert "violated: " + rule.violates in done.stdout
        return
    said = next(filter(None, map(complaint, read_dumps(tmp_path / "dumps"))), "nothing")
    assert rule.violates in said
