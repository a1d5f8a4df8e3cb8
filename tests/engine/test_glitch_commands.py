# SPDX-License-Identifier: Apache-2.0
"""No skipped instruction makes a terminal obey a command that is forged or was done before.

Every instruction between a command's arrival and its effect is skipped in turn, alone and with the
one after it, in an emulated Cortex-M4: the engine's part is in test_glitch.py. The signature's own
arithmetic is not part of it, nor is the hash of the nonce: here the answer of the first is given.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.glitch import SLOTS, Core, Image, build, needs_compiler, opened
from tests.support.switched_off import switched_off

pytestmark = needs_compiler

ON_THE_WAY = ["tfin_commands_take", "tfin_commands_step", "tfin_commands_nonce", "check", "memcmp"]
ON_THE_WAY += ["is_for_this", "tfin_keys_command", "tfin_keys_manifest", "tfin_keys_is_manifest"]
ON_THE_WAY += ["tfin_keys_id", "tfin_keys_mac", "tfin_is_zero", "tfin_port_verify"]
ON_THE_WAY += ["tfin_slots_command", "tfin_slots_record", "tfin_slots_renew", "tfin_slots_other_is"]
BEGIN = ("-Wl,-u,glitch_begin",)
"""Nothing in the program calls it."""
ASKED = ["raise floor", "erase card", "activate", "new keys", "notices"]
FAULTS = {"forged": {"glitch_signature": -1}, "done before": {"glitch_replayed": 1}}


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    return build(tmp_path_factory.mktemp("glitch"), *BEGIN, program="glitch_commands.c")


def core(image: Image, asked: str, **variables: int) -> Core:
    on_the_way = [name for name in ON_THE_WAY if name in image.symbols]
    return Core(
        image, on_the_way, {"glitch_signature": 0, "glitch_asked": ASKED.index(asked)} | variables
    )


@pytest.mark.parametrize("asked", ASKED)
def test_a_good_command_is_done(image: Image, asked: str) -> None:
    assert core(image, asked).run() == 0


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("asked", ASKED)
def test_no_skipped_instruction_makes_the_terminal_obey(
    image: Image, asked: str, fault: str
) -> None:
    refused = core(image, asked, **FAULTS[fault])
    assert refused.run() == 1
    steps = refused.steps()
    assert len(steps) > 50
    assert list(opened(refused, steps)) == []


@pytest.mark.parametrize(
    ("fault", "text", "instead"),
    [
        ("forged", "proof != TFIN_PORT_VERIFIED || proof", "proof"),
        ("done before", "    rc = check_kind(c);\n", ""),
    ],
)
def test_what_is_checked_once_is_found(fault: str, text: str, instead: str, tmp_path: Path) -> None:
    """Negative control: a check that hangs on one branch."""
    slots = switched_off(SLOTS, "commands.c", text, instead, tmp_path)
    image = build(tmp_path, *BEGIN, program="glitch_commands.c", slots=slots)
    refused = core(image, "raise floor", **FAULTS[fault])
    assert refused.run() == 1
    assert any(opened(refused, refused.steps()))
