# SPDX-License-Identifier: Apache-2.0
"""A terminal whose power is cut at any flash operation keeps a pack that runs.

``firmware/test/powercut.c`` walks slots.c and journal.c, as they are linked into an image, over a
simulated flash. Each rule of theirs is switched off in turn, and must be missed.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.native import LIBRARY, TEST, WARNINGS, compiler
from tests.support.process import ROOT, call
from tests.support.switched_off import switched_off

SOURCE = ROOT / "firmware" / "src" / "slots"
STEPS = int(os.environ.get("POWERCUT_STEPS", "300000"))
STATES = int(os.environ.get("POWERCUT_STATES", "20000"))


def build(folder: Path, sources: Path = SOURCE, *flags: str) -> Path:
    program = folder / "powercut"
    includes = [f"-I{path}" for path in (LIBRARY / "include", sources, ROOT / "firmware" / "ports")]
    files = [
        TEST / "powercut.c",
        TEST / "crc32_fast.c",
        *(sources / f"{name}.c" for name in ("slots", "journal", "keys", "commands")),
    ]
    files.append(SOURCE.parent / "bytes.c")
    includes.append(f"-I{SOURCE.parent}")
    options = ["-O2", "-std=gnu11", "-DTFIN_PORT_FLASH", "-Wl,--wrap=tfin_journal_open"]
    call(compiler(), *options, *WARNINGS, *flags, *includes, *files, "-o", program)
    return program


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("powercut"))


def test_random_walks_violate_nothing(program: Path) -> None:
    said = call(program, "walk", STEPS, deadline_s=1200 + STEPS / 500).stdout
    print(said)
    counts = [int(n) for n in re.findall(r"\d+", said)]
    assert said.rstrip().endswith("nothing violated")
    steps, _, operations, cut, staged, trials, followed, confirmed, reverted, sheets = counts
    assert steps == STEPS
    assert (
        min(operations, cut, staged, trials, followed, confirmed, reverted, sheets) > STEPS // 500
    )


def test_the_first_states_of_a_small_flash_violate_nothing(program: Path) -> None:
    said = call(program, "all", STATES, deadline_s=1200 + STATES).stdout
    print(said)
    assert said.rstrip().endswith("nothing violated")


def test_genuine_headers_do_not_wear_the_flash_out(program: Path) -> None:
    """Nor do they lead a load out of its slot."""
    print(call(program, "headers", 20000).stdout)


def test_worn_flash_and_damaged_packs(program: Path) -> None:
    assert call(program, "damage").stdout == "nothing violated\n"


def test_commands_are_done_once(program: Path) -> None:
    said = call(program, "commands", STEPS, deadline_s=1200 + STEPS / 500).stdout
    print(said)
    steps, _, operations, cut, cards, pages, manifests = map(int, re.findall(r"\d+", said))
    assert said.rstrip().endswith("nothing violated")
    assert steps == STEPS
    assert min(operations, cut, cards, pages, manifests) > STEPS // 50


def test_under_sanitizers(tmp_path: Path) -> None:
    checked = build(tmp_path, SOURCE, "-g", "-fsanitize=address,undefined")
    assert "nothing violated" in call(checked, "damage", deadline_s=600).stdout
    assert "nothing violated" in call(checked, "walk", 3000, 7, deadline_s=600).stdout
    assert "nothing violated" in call(checked, "commands", 3000, 7, deadline_s=600).stdout


@dataclass(frozen=True)
class Rule:
    """A rule that is switched off: in a copy of ``file``, ``text`` becomes ``instead``."""

    name: str
    file: str
    text: str
    instead: str
    violates: str
    how: tuple[str | int, ...] = ()
    """What finds it; without: a walk, or the first states."""


AGAIN = "        tfin_journal_write(j);\n        j->job = "
RULES = [
    Rule(
        "a probation goes on when its pack has left the slot",
        "slots.c",
        "    s->watched = 0;\n",
        "    s->watched = s->watched && phase < TFIN_PHASE_STAGED;\n",
        "the pack in shadow is not touched",
    ),
    Rule(
        "the next pack in shadow ends with the probation of the one before it",
        "slots.c",
        "    return s->watched && probation->engine != NULL;",
        "    enum tfin_slots_phase phase = tfin_slots_phase(s);\n"
        "    return probation->engine != NULL &&\n"
        "           ((phase == TFIN_PHASE_SHADOW && s->running == tfin_slots_active(s)) ||\n"
        "            (phase == TFIN_PHASE_TRIAL && s->running == tfin_slots_other(s)));",
        "a probation ends with its phase",
    ),
    Rule(
        "read at boot, not appended again",
        "journal.c",
        AGAIN,
        "        j->job = ",
        "a boot acts on what is certain",
    ),
    Rule(
        "written once",
        "journal.c",
        "COPIES = 2",
        "COPIES = 1",
        "a boot acts on what is certain",
        ("plain", STATES),
    ),
    Rule(
        "numbers without places",
        "journal.c",
        "j->now.sequence += j->used - 1u - place_of_newest;",
        "(void)place_of_newest;",
        "what a boot has acted on stays",
        ("damage",),
    ),
    Rule(
        "two readings in place of one",
        "journal.c",
        "                j->now = r;\n",
        "                (void)tfin_port_flash_read(address_of(j, sector, place), &j->now, 32);\n",
        "the journal says what it said",
    ),
    Rule(
        "a sheet counts without its seal",
        "journal.c",
        "        int is = is_sealed(j, sector);\n",
        "        int is = is_sealed(j, sector) * 0;\n",
        "the sheet that counts is whole",
    ),
    Rule(
        "the sector before is left as it is",
        "journal.c",
        "        j->job = ERASE_OLD;",
        "        j->job = REST;",
        "nothing of an older sector is left",
    ),
    Rule(
        "what a cut left in the other sector stays there",
        "journal.c",
        "is_blank(j, other, used[other]) ? REST : ERASE_OLD",
        "is_blank(j, other, used[other]) ? REST : REST",
        "nothing of an older sector is left",
    ),
    Rule(
        "the floor rises at activation",
        "slots.c",
        "        now->detail = TRIES | ALIVE;\n",
        "        now->detail = TRIES | ALIVE;\n"
        "        now->floor = u32_at((const uint8_t *)tfin_port_flash_at(slot_of(s)->address)"
        " + 16);\n",
        "a pack runs after every boot",
    ),
    Rule(
        "the header before the journal says so",
        "slots.c",
        "    return mark(s, MARK_HEADER);",
        "    set_places(s, tfin_slots_active(s), tfin_slots_other(s), TFIN_PHASE_LOADING);\n"
        "    s->job = MARK_HEADER;\n"
        "    s->result = TFIN_SLOTS_OK;\n"
        "    return TFIN_SLOTS_OK;",
        "what is programmed was erased before",
    ),
    Rule(
        "the last unit is trusted",
        "slots.c",
        "uint32_t unit = at / slot->erase_bytes;",
        "uint32_t unit = at / slot->erase_bytes + 1u;",
        "a unit is erased at its beginning",
        ("all", STATES),
    ),
    Rule(
        "a load is resumed without a mark",
        "slots.c",
        "        now->detail = unit_to_resume(s);\n    }\n",
        "        now->detail = 0;\n"
        "        s->next = unit_to_resume(s) * s->journal.map->slot[slot].erase_bytes;\n"
        "        s->next = s->next < HEADER_BYTES ? HEADER_BYTES : s->next;\n"
        "        s->known = 1;\n"
        "        s->result = TFIN_SLOTS_OK;\n"
        "        return TFIN_SLOTS_OK;\n    }\n",
        "what is programmed was erased before",
    ),
    Rule(
        "the units behind it are not erased again",
        "slots.c",
        "        s->end = s->total + slot->erase_bytes - 1u;\n",
        "        s->end = s->journal.now.detail == 0\n"
        "            ? s->total + slot->erase_bytes - 1u\n"
        "            : (s->journal.now.detail + 1u) * slot->erase_bytes;\n",
        "what a cut left uncertain is erased before it is programmed",
    ),
    Rule(
        "no try is counted",
        "slots.c",
        "tfin_slots_tries(s) - (costs != 0)",
        "tfin_slots_tries(s) - (costs == 2)",
        "a pack in trial that keeps failing is given up after three boots",
    ),
    Rule(
        "a pulled plug costs a try",
        "slots.c",
        "    int costs =\n        cause == TFIN_CAUSE_FAULT ||",
        "    int costs = cause == TFIN_CAUSE_FAULT || cause == TFIN_CAUSE_POWER ||",
        "a pulled plug costs no try",
    ),
    Rule(
        "confirmed before it has worked",
        "slots.c",
        "            return TFIN_SLOTS_NOT_ALIVE;\n",
        "            s->result = TFIN_SLOTS_OK;\n",
        "a pack is confirmed only after it has worked",
    ),
    Rule(
        "the signature after the erasure",
        "slots.c",
        "    int rc = tfin_verify_header(s->data, s->trust);\n",
        "    int rc = TFIN_OK;\n",
        "a forged header causes no operation on flash",
        ("all", STATES),
    ),
    Rule(
        "the slot that runs is as good as another",
        "slots.c",
        "tfin_slots_phase(s) >= TFIN_PHASE_SHADOW || free_slot(s) == s->running",
        "tfin_slots_phase(s) >= TFIN_PHASE_SHADOW",
        "the pack that runs is not touched",
    ),
    Rule(
        "a refused header leaves its size behind",
        "slots.c",
        "    if (!is_other) {\n        if (!count_install",
        "    s->total = total;\n    if (!is_other) {\n        if (!count_install",
        "a load stays within its pack",
        ("headers", 20000),
    ),
    Rule(
        "the floor counts from the next boot on",
        "slots.c",
        "    case MARK_SHEET: raise_floor(s); return",
        "    case MARK_SHEET: return",
        "a pack below the floor causes no operation on flash",
    ),
    Rule(
        "one try more",
        "slots.c",
        "TRIES = 3, ",
        "TRIES = 4, ",
        "a pack in trial that keeps failing is given up after three boots",
    ),
    Rule(
        "what the chip accepts was done",
        "journal.c",
        "    if (!operation(j) && ++j->failures == TFIN_JOURNAL_GIVES_UP) {\n",
        "    if (operation(j)) {\n"
        "        j->failures = 0;\n"
        "    } else if (++j->failures == TFIN_JOURNAL_GIVES_UP) {\n",
        "flash that is worn out ends in an error, not in endless operations",
        ("damage",),
    ),
    Rule(
        "an active pack is there, whether it opens or not",
        "slots.c",
        " && s->running == tfin_slots_active(s);",
        ";",
        "a damaged pack may come again",
        ("damage",),
    ),
    Rule(
        "the pack of another image is taken for that of this one",
        "slots.c",
        "rc == TFIN_OK && active == TFIN_SLOT_FACTORY",
        "rc == TFIN_OK && active == TFIN_SLOT_NONE",
        "the pack of the image is here",
        ("damage",),
    ),
    Rule(
        "what was damaged in trial never comes again",
        "slots.c",
        "        give_up_damaged(s, rc);\n    }\n    tfin_slots_settle",
        "        (void)give_up(s, TFIN_REASON_DAMAGED);\n    }\n    tfin_slots_settle",
        "a damaged pack may come again",
        ("damage",),
    ),
    Rule(
        "another signature at the end spoils the pack",
        "slots.c",
        "rc == TFIN_E_DIGEST || rc == TFIN_E_SIGNATURE",
        "rc == TFIN_E_DIGEST",
        "a damaged pack may come again",
        ("damage",),
    ),
    Rule(
        "the counter is not in the record of the effect",
        "commands.c",
        "        now->commands = m->counter;\n    }\n    int which",
        "    }\n    int which",
        "a command is done once",
        ("commands", STEPS),
    ),
    Rule(
        "an effect without a record",
        "commands.c",
        "    return tfin_slots_record(c->slots);\n}\n\nstatic int finish_command(",
        "    return m->opcode == TFIN_OP_ERASE_CARD ? 0 : tfin_slots_record(c->slots);\n"
        "}\n\nstatic int finish_command(",
        "a command is done once",
        ("commands", STEPS),
    ),
    Rule(
        "a nonce of the boot alone",
        "commands.c",
        "    memcpy(message + 5, &c->slots->journal.now.sequence, 4);\n",
        "",
        "a command is done once",
        ("commands", STEPS),
    ),
    Rule(
        "a page as often as it comes",
        "commands.c",
        "page->number != c->slots->journal.now.notices + 1u",
        "page->number > c->slots->journal.now.notices + 1u",
        "a page of notices that was answered is not applied again",
        ("commands", STEPS),
    ),
    Rule(
        "an older broadcast",
        "commands.c",
        "m->counter > c->slots->journal.now.commands",
        "m->counter != c->slots->journal.now.commands",
        "no counter falls",
        ("commands", STEPS),
    ),
    Rule(
        "any keys that the root signed",
        "commands.c",
        "m->version > version ||",
        "m->version != version ||",
        "no version of keys falls",
        ("commands", STEPS),
    ),
    Rule(
        "keys of the sheet that was",
        "slots.c",
        "    tfin_keys_trust(&s->journal, s->trust); /* a record may have moved the sheet */\n",
        "",
        "packs verify under the keys that count",
        ("commands", STEPS),
    ),
    Rule(
        "the floor above the pack that a trial may end with",
        "commands.c",
        "s->running == tfin_slots_active(s) && m->value[1] == 0",
        "m->value[1] == 0",
        "a pack runs after every boot",
        ("commands", STEPS),
    ),
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_a_rule_that_is_switched_off_is_missed(rule: Rule, tmp_path: Path) -> None:
    copy = switched_off(SOURCE, rule.file, rule.text, rule.instead, tmp_path)
    sabotaged = build(tmp_path, copy, "-Wno-error")
    for how in [rule.how] if rule.how else (("walk", 10 * STEPS), ("all", STATES)):
        done = call(sabotaged, *how, code=None, deadline_s=1200)
        if done.returncode == 1:
            assert "violated: " + rule.violates in done.stdout
            return
    pytest.fail(f"nothing violated: {rule.name}")
