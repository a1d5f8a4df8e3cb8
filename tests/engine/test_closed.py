# SPDX-License-Identifier: Apache-2.0
"""Every public function answers for an engine that is not open, and for null."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable

import pytest

from tests.support import packs
from tests.support.native import (
    LIBRARY,
    Buffer,
    Engine,
    Event,
    Notice,
    Outcome,
    Refused,
    Verdict,
    code,
    library,
)
from tests.support.packs import RECORD

NULL = ctypes.c_void_p(None)
CLOSED, ARGUMENT = code("TFIN_E_CLOSED"), code("TFIN_E_ARGUMENT")


def arguments() -> dict[str, list[object]]:
    """What each function takes behind its engine; every argument is one that it would take."""
    held = Buffer(len(RECORD), RECORD)
    event, outcome, notice = Event(1, 5, 5, held.address, len(RECORD)), Outcome(1, 6), Notice(1)
    space = Buffer(4096)
    count = ctypes.byref(ctypes.c_uint32(7))
    keep = (held, event, outcome, notice, space)
    found: dict[str, list[object]] = {
        "tfin_pack_id": [],
        "tfin_security_counter": [],
        "tfin_rebase_time": [5],
        "tfin_recheck_pack": [space, 16],
        "tfin_reset": [],
        "tfin_score": [ctypes.byref(event), ctypes.byref(Verdict())],
        "tfin_apply_outcome": [ctypes.byref(outcome)],
        "tfin_apply_notice": [ctypes.byref(notice)],
        "tfin_features": [count],
        "tfin_network_input": [count],
        "tfin_network_output": [count],
        "tfin_infer": [space, 3, space],
        "tfin_get_stats": [space],
        "tfin_state_size": [],
        "tfin_export_state": [0, space, 16],
        "tfin_import_state": [0, space, 64],
        "tfin_erase_card": [ctypes.c_uint64(7)],
        "tfin_waiting_size": [],
        "tfin_export_waiting": [ctypes.c_uint64(1), space, 16],
        "tfin_pushed_out": [ctypes.c_uint64(1), space],
        "tfin_restore_outcome": [space, 16, ctypes.byref(outcome)],
        "tfin_restore_notice": [ctypes.byref(notice)],
        "tfin_state_digest": [],
        "tfin_event_schema": [],
        "tfin_network_plan": [],
        "tfin_monitor_bytes": [],
        "tfin_probation_possible": [space, ctypes.c_size_t(4096)],
        "tfin_probation_possible_apart": [space, ctypes.c_size_t(4096)],
    }
    found["keep"] = list(keep)
    return found


#: functions that cannot give an error: they give null or 0
QUIET = {
    "tfin_pack_id",
    "tfin_security_counter",
    "tfin_features",
    "tfin_network_input",
    "tfin_network_output",
    "tfin_state_size",
    "tfin_state_digest",
    "tfin_waiting_size",
    "tfin_pushed_out",
    "tfin_event_schema",
    "tfin_network_plan",
    "tfin_probation_possible",
    "tfin_probation_possible_apart",
}
NAMES = [name for name in arguments() if name != "keep"]


def test_the_list_is_whole() -> None:
    headers = "".join(path.read_text() for path in (LIBRARY / "include").iterdir())
    declared = r"^(?!static)[\w \*]*?\b(tfin_\w+)\((?:const )?tfin_engine \*"
    takes_an_engine = re.findall(declared, headers, re.M)
    opening = {"tfin_open", "tfin_bind"}
    assert set(takes_an_engine) - opening == set(NAMES)


def call(name: str, engine: object) -> int | None:
    function = library()[name]
    function.restype = ctypes.c_void_p if name in QUIET else ctypes.c_int32
    given = arguments()
    return function(engine, *given[name])


def expect(name: str, engine: object, error: int) -> None:
    assert call(name, engine) in ((None, 0) if name in QUIET else (error,)), name


def failed_open(engine: Buffer, how: str) -> None:
    """Leave in ``engine`` what a failed opening leaves."""
    pack = bytearray(packs.build(packs.small()))
    pack[300] ^= 1
    held, memory = Buffer(len(pack), bytes(pack)), Buffer(8192)
    lib = library()
    from tests.support.native import RECORD_OF_PACK, Trust

    trust = Trust(b"", 0, True, 0, RECORD_OF_PACK)
    size, space = ctypes.c_size_t(len(pack)), ctypes.c_size_t(8192)
    if how == "open":
        rc = lib.tfin_open(engine, held, size, memory, space, ctypes.byref(trust))
        assert rc == code("TFIN_E_DIGEST")
    else:
        receipt = Buffer(512)
        assert lib.tfin_bind(engine, receipt, memory, space) == code("TFIN_E_UNVERIFIED")


STATES: dict[str, Callable[[Buffer], object]] = {
    "never opened": lambda engine: None,
    "open failed": lambda engine: failed_open(engine, "open"),
    "bind failed": lambda engine: failed_open(engine, "bind"),
    "garbage": lambda engine: ctypes.memset(engine.address, 0xA5, engine.size),
}


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("name", NAMES)
def test_an_engine_that_is_not_open(name: str, state: str) -> None:
    engine = Buffer(512)
    STATES[state](engine)
    expect(name, engine, CLOSED)


@pytest.mark.parametrize("name", NAMES)
def test_no_engine(name: str) -> None:
    expect(name, NULL, ARGUMENT)


def test_an_engine_whose_next_opening_failed_is_closed(small: bytes) -> None:
    engine = Engine(small)
    engine.score(1, 5, RECORD)
    failed_open(engine._engine, "open")
    with pytest.raises(Refused, match="TFIN_E_CLOSED"):
        engine.score(2, 6, RECORD)
    with pytest.raises(Refused, match="TFIN_E_MEMORY"):
        Engine(small, memory_less=1)


@pytest.mark.parametrize("name", ["tfin_features", "tfin_network_input", "tfin_network_output"])
def test_a_null_count_is_left_out(name: str, small: bytes) -> None:
    engine = Engine(small)
    function = library()[name]
    function.restype = ctypes.c_void_p
    assert function(engine._engine, NULL)
