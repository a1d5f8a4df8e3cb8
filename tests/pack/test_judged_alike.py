# SPDX-License-Identifier: Apache-2.0
"""The workstation and the terminal judge a pack alike.

What the workstation takes, every terminal opens. The other way round the workstation is stricter:
it also refuses what no writer writes, by the rules in ``ONLY_THE_WORKSTATION`` and no others
(docs/formats/pack.md lists them).
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator

import pytest

from tests.engine.corpus import golden_mirror
from tests.pack.hostile_packs import STRUCTURE, verifying, with_
from tests.support import packs
from tests.support.native import opening
from tests.support.packs import build
from tinyfin.errors import PackError
from tinyfin.pack.container import parse_pack

ONLY_THE_WORKSTATION = re.compile(
    "reserved bytes|must be zero|break the rules of an entry|slopes are not those of its knots"
    "|META: is not JSON|is not a written register|holds nothing|cap_s = .* is out of range"
    "|an enum, and only an enum|kernel mask or layout differ|READ: index"
)

OPENS = ("", "TFIN_E_MEMORY", "TFIN_E_GOLDEN")
"""What the terminal may say of a good pack: nothing, or that its caller gave too little memory, or
that a run came to another result, which the workstation does not compute."""


def terminal(pack: bytes) -> str:
    """ "" or the error's name."""
    return opening(pack, memory_size=1 << 20)


def workstation(pack: bytes) -> str:
    """ "" or the message. Nothing but PackError may come out."""
    try:
        parse_pack(pack)
    except PackError as error:
        return str(error)
    return ""


def disagreement(pack: bytes) -> str:
    """ "" or what each of the two says."""
    engine, tool = terminal(pack), workstation(pack)
    if tool == "":
        agree = engine in OPENS
    else:
        agree = engine != "" or ONLY_THE_WORKSTATION.search(tool) is not None
    return "" if agree else f"terminal: {engine or 'opens'}; workstation: {tool or 'takes it'}"


def one_byte_changed() -> Iterator[bytes]:
    """Packs with each byte of each payload changed once, signed again."""
    rng = random.Random(6)
    for parts in (packs.small(), packs.rich(), packs.mirror()):
        for tag, payload in parts.items():
            for at, was in enumerate(payload):
                values = {0, 1, 255, was ^ 1, was ^ 0x80, (was + 1) & 255} - {was}
                changed = bytearray(payload)
                changed[at] = rng.choice(sorted(values))
                yield build({**parts, tag: bytes(changed)})


@pytest.mark.parametrize(
    "make", [pytest.param(make, id=f"{error[7:]}: {name}") for error, name, make in STRUCTURE]
)
def test_what_a_terminal_refuses_by_name_the_workstation_refuses(make: Callable[[], bytes]) -> None:
    assert workstation(make())


@pytest.mark.parametrize("name", ["small", "rich", "mirror"])
def test_both_take_the_good_ones(name: str) -> None:
    pack = build(getattr(packs, name)())
    assert (terminal(pack), workstation(pack)) == ("", "")


@pytest.mark.parametrize("verify", [1 << 30, 2 << 30, 3 << 30])
def test_both_take_a_threshold_of_verify(verify: int) -> None:
    pack = with_("DECI", verifying(1, verify))
    assert (terminal(pack), workstation(pack)) == ("", "")


def test_thresholds_of_a_later_version_are_the_terminals_alone() -> None:
    """It reads the one that it knows; the workstation would lose the other in a new pack."""
    pack = with_("DECI", verifying(2, 2 << 30, 5))
    assert terminal(pack) == ""
    assert "2 more thresholds; this version knows one" in workstation(pack)


def test_both_take_golden_vectors() -> None:
    assert (terminal(golden_mirror()), workstation(golden_mirror())) == ("", "")


def test_one_changed_byte_is_judged_alike() -> None:
    seen = [text for pack in one_byte_changed() if (text := disagreement(pack))]
    assert not seen, seen[:10]


def test_without_the_engine_the_two_would_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    """Negative control: what the engine alone knows of a plan."""
    monkeypatch.setattr("tinyfin.twin.require_good", lambda pack: None)
    arena = next(make for _, name, make in STRUCTURE if name == "no space for the arena")
    assert disagreement(arena())
