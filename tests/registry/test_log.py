# SPDX-License-Identifier: Apache-2.0
"""A log that was changed in any way is known, and the event is named."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from functools import lru_cache
from pathlib import Path
from typing import Annotated

import monocypher
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Field

from tests.support.registries import ADDED, Written, key, key_id, subject, whole_life
from tinyfin.documents import Facts
from tinyfin.errors import InputError
from tinyfin.registry import events
from tinyfin.registry import log as log_module
from tinyfin.registry.events import Event, canonical, parse_line
from tinyfin.registry.log import Head, follow, parse_head
from tinyfin.registry.state import Verdict

LOG = whole_life()
EDITED = 4
"""Events of it whose every byte is changed."""


def named(data: bytes, *heads: Head) -> tuple[Verdict, int | None]:
    found = follow(data, heads)
    assert bool(found.why) == (found.verdict != Verdict.VALID)
    return found.verdict, found.number


def test_a_whole_log_is_valid() -> None:
    assert len(LOG.events) == 8
    heads = [Head(event.number, event.digest) for event in LOG.events]
    assert named(LOG.data, *heads) == (Verdict.VALID, None)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same line is read, and the same signature checked, once."""
    monkeypatch.setattr(events, "verify", lru_cache(maxsize=None)(events.verify))
    monkeypatch.setattr(log_module, "parse_line", lru_cache(maxsize=None)(parse_line))


def misnamed(step: int = 1) -> list[tuple[int, int, Verdict]]:
    """Bytes of the log whose change is not pinned on the event that it is in."""
    wrong, at = [], 0
    lines = LOG.lines[:EDITED]
    whole, head = b"".join(lines), Head(EDITED, LOG.events[EDITED - 1].digest)
    for number, line in enumerate(lines, 1):
        for i in range(0, len(line), step):
            news = [line[i] ^ 1 << i % 7] if i % 8 else [line[i] ^ 1, line[i] ^ 0x20, 0x0A]
            for new in set(news) - {line[i]}:
                data = bytearray(whole)
                data[at + i] = new
                verdict, found = named(bytes(data), head)
                # without its end the last line is one that a power cut left
                truncated = number == EDITED and verdict == Verdict.TRUNCATED
                if found != number or not (verdict == Verdict.CORRUPT or truncated):
                    wrong.append((number, i, verdict))
        at += len(line)
    return wrong


@pytest.mark.usefixtures("quick")
def test_every_changed_byte_is_pinned_on_its_event() -> None:
    assert misnamed() == []


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("what", ["signature", "form"])
def test_a_check_that_is_left_out_is_noticed(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control of the test above. The form alone refuses a signature in capitals."""
    if what == "signature":
        monkeypatch.setattr(Event, "is_signed_by", lambda event, public: True)
        assert misnamed(step=37)
        return

    class Loose(Event):
        signature: Annotated[str, Field(pattern="^[0-9a-fA-F]{128}$")]

    monkeypatch.setattr(events, "Event", Loose)
    monkeypatch.setattr(log_module, "parse_line", lru_cache(maxsize=None)(parse_line))
    assert (EDITED, Verdict.FORKED) in {
        (number, verdict) for number, _, verdict in misnamed(step=8)
    }


def test_removed_exchanged_and_repeated_events() -> None:
    lines = LOG.lines
    for i in range(len(lines)):
        without = b"".join(lines[:i] + lines[i + 1 :])
        last = i == len(lines) - 1
        assert named(without, LOG.head) == (Verdict.TRUNCATED if last else Verdict.CORRUPT, i + 1)
        assert named(b"".join([*lines[: i + 1], *lines[i:]])) == (Verdict.CORRUPT, i + 2)
        for j in range(i):
            mixed = lines.copy()
            mixed[i], mixed[j] = mixed[j], mixed[i]
            assert named(b"".join(mixed)) == (Verdict.CORRUPT, j + 1)
    assert "event 4 stands in its place" in follow(b"".join(lines[:2] + lines[3:])).why


@pytest.mark.usefixtures("quick")
def test_a_log_that_was_cut_off_shows_by_a_head_alone() -> None:
    data = LOG.data
    ends = [m.end() for m in re.finditer(b"\n", data)]
    for size in sorted({*range(0, len(data), 7), *ends[:-1]}):
        held = sum(end <= size for end in ends)
        torn = size not in (0, *ends)
        expected = Verdict.TORN if torn else Verdict.VALID if held else Verdict.TRUNCATED
        assert named(data[:size])[0] == expected, "who knows no head cannot see it"
        assert named(data[:size], LOG.head) == (Verdict.TRUNCATED, held + 1)
    assert named(data[:-1] + b"\0\0\n") == (Verdict.TORN, 8), "blocks that were never written"


def test_a_fork_is_named() -> None:
    one, other = whole_life(), Written()
    pack = subject(8)
    other.event("added", "a", pack, **ADDED)
    head = Head(2, one.events[1].digest)
    assert named(other.data, head) == (Verdict.FORKED, 2)
    spliced = b"".join([*other.lines, *one.lines[2:]])
    assert named(spliced) == (Verdict.FORKED, 3)
    assert "goes on from another event 2" in follow(spliced).why


def by_hand(log: Written, name: str, **changed: object) -> bytes:
    """The next line, from docs/formats/registry.md alone."""
    event: dict[str, object] = {
        "actor": {"key": key_id(name), "name": name},
        "before": hashlib.sha256(log.lines[-1]).hexdigest(),
        "detail": {"note": "", "evidence": None},
        "format": 1,
        "kind": "validated",
        "number": len(log.lines) + 1,
        "subject": None,
        "time": "2026-11-30T00:00:00Z",
        **changed,
    }
    form = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    text = form.encode(event).encode()
    secret = key(name).seed + key(name).public
    signature = monocypher.signature_sign(secret, b"tinyfin registry event 1\n" + text).hex()
    return form.encode({**event, "signature": signature}).encode() + b"\n"


def test_a_line_from_the_page_is_valid_and_a_rule_that_it_breaks_is_named() -> None:
    log = Written()
    log.event("added", "a", subject(7), **ADDED)
    about = subject(7).model_dump()
    assert named(log.data + by_hand(log, "b", subject=about)) == (Verdict.VALID, None)
    unruly = {
        "is not validated": by_hand(log, "b", subject=about, kind="approved", detail={"note": ""}),
        "is before that of event 2": by_hand(log, "b", subject=about, time="2026-10-26T07:00:00Z"),
        "names no pack that was added": by_hand(log, "b", subject=subject(9).model_dump()),
        "is not the one of 'c'": by_hand(
            log, "b", subject=about, actor={"key": key_id("b"), "name": "c"}
        ),
    }
    for why, line in unruly.items():
        found = follow(log.data + line)
        assert why in found.why
        assert (found.verdict, found.number) == (Verdict.UNRULY, 3)
    corrupt = {
        "names key": by_hand(log, "x", subject=about),
        "its kind 'praised' is not known": by_hand(log, "b", subject=about, kind="praised"),
        "no event": by_hand(log, "b", subject=about, note="?"),
        "detail of 'validated'": by_hand(log, "b", subject=about, detail={}),
        "of the kind 'opened'": by_hand(log, "b", kind="opened", detail=log.events[0].detail),
    }
    for why, line in corrupt.items():
        found = follow(log.data + line)
        assert why in found.why
        assert (found.verdict, found.number) == (Verdict.CORRUPT, 3)
    assert named(log.data + by_hand(log, "b", before="0" * 64)) == (Verdict.FORKED, 3)


def test_other_parts_record_events_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    class Began(Facts):
        waves: int

    monkeypatch.setattr(events, "KINDS", dict(events.KINDS))
    monkeypatch.setattr("tinyfin.registry.log.KINDS", events.KINDS)
    log = whole_life()
    with pytest.raises(InputError, match="not declared"):
        log.event("campaign.began", "b", subject(7), waves=3)
    events.declare("campaign.began", Began)
    with pytest.raises(InputError, match="waves"):
        log.event("campaign.began", "b", subject(7), waves="many")
    event = log.event("campaign.began", "b", subject(7), waves=3)
    log.event("campaign.began", "b", None, waves=4)
    assert (event.kind, event.detail) == ("campaign.began", {"waves": 3})
    del events.KINDS["campaign.began"]
    assert named(log.data) == (Verdict.VALID, None), "who does not know the kind checks the rest"
    with pytest.raises(ValueError, match="a dot"):
        events.declare("approved", Began)


@pytest.mark.parametrize("value", [0.5, 2**53, {"ä": 1}, "\ud800", b"x", {1: 2}])
def test_what_has_no_one_form_is_refused(value: object) -> None:
    with pytest.raises(InputError, match="an event cannot hold"):
        canonical({"detail": [value]})


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["a", "B", "\n"]), inner),
        max_leaves=6,
    )
)
@settings(max_examples=60)
def test_the_canonical_form_is_one_line_that_means_the_same(value: object) -> None:
    with contextlib.suppress(UnicodeEncodeError):
        json.dumps(value, ensure_ascii=False).encode()
        text = canonical(value)
        assert json.loads(text) == value
        assert b"\n" not in text
        assert canonical(json.loads(text)) == text


@settings(max_examples=60)
@given(st.binary(max_size=300), st.integers(0, 8))
def test_any_bytes_are_a_log_or_have_a_verdict(data: bytes, keep: int) -> None:
    found = follow(b"".join(LOG.lines[:keep]) + data, [Head(9, 64 * "0")])
    assert found.verdict != Verdict.VALID
    assert found.number is not None


def test_a_head_is_words_or_the_newest_line(tmp_path: Path) -> None:
    file = tmp_path / "head"
    file.write_bytes(LOG.lines[-1])
    assert parse_head(str(file)) == parse_head(str(LOG.head)) == LOG.head
    for text in ("", "8", "8:00", f"0:{64 * '0'}", f"8:{64 * 'G'}", str(tmp_path)):
        with pytest.raises(InputError, match="give NUMBER:HASH"):
            parse_head(text)
    # the hash is what sha256sum says of the line
    assert hashlib.sha256(file.read_bytes()).hexdigest() == LOG.head.digest
    assert LOG.events[0].time == "2026-10-26T07:33:20Z"
