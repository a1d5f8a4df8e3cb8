# SPDX-License-Identifier: Apache-2.0
"""No skipped instruction opens a pack that is damaged, not signed, or too old.

A fault in the power supply can make a core skip an instruction. Every instruction of the way from
tfin_open to its answer is skipped in turn, alone and with the one after it, in an emulated
Cortex-M4; afterwards the engine must refuse to score. The signature's own arithmetic is not part of
it: here its answer is given.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import packs
from tests.support.glitch import PACK, Core, Image, build, needs_compiler, opened

pytestmark = needs_compiler

ON_THE_WAY = ["tfin_open", "integrity_ok", "frame_ok", "compare_body", "compare", "compare_hash"]
ON_THE_WAY += ["hash_more", "trust_header", "key_of", "open_trusted", "examine", "give_memory"]
ON_THE_WAY += ["compare_state_layout", "tfin_usable", "tfin_u16", "tfin_u32", "tfin_port_verify"]
ON_THE_WAY += ["tfin_port_hash_begin", "tfin_port_hash_update", "tfin_port_hash_end"]


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    return build(tmp_path_factory.mktemp("glitch"))


def good() -> bytes:
    return packs.build(packs.small())


def damaged() -> bytes:
    pack = bytearray(good())
    pack[-1] ^= 1
    return bytes(pack)


def core(image: Image, pack: bytes, signature: int = 0, minimum_counter: int = 0) -> Core:
    variables = {
        "glitch_signature": signature,
        "glitch_pack": PACK,
        "glitch_pack_size": len(pack),
        "glitch_minimum_counter": minimum_counter,
    }
    return Core(image, ON_THE_WAY, variables, pack)


CASES: dict[str, dict[str, int]] = {
    "bad signature": {"signature": -1},
    "damaged": {},
    "too old": {"minimum_counter": 1},
}


def core_of(image: Image, case: str) -> Core:
    return core(image, damaged() if case == "damaged" else good(), **CASES[case])


def test_a_good_pack_opens_and_scores(image: Image) -> None:
    opens = core(image, good())
    assert opens.run() == 0
    assert len(opens.steps()) > 300


@pytest.mark.parametrize("case", CASES)
def test_no_skipped_instruction_opens_it(image: Image, case: str) -> None:
    refused = core_of(image, case)
    assert refused.run() != 0
    steps = refused.steps()
    assert len(steps) > 50
    assert list(opened(refused, steps)) == []


@pytest.mark.parametrize("case", CASES)
def test_a_verdict_that_hangs_on_a_branch_is_found(case: str, tmp_path: Path) -> None:
    """Negative control: an engine that is open whatever the checks computed."""
    refused = core_of(build(tmp_path, "-DTFIN_SABOTAGE_GLITCH"), case)
    assert refused.run() != 0
    assert any(opened(refused, refused.steps()))
