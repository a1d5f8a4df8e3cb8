# SPDX-License-Identifier: Apache-2.0
"""The examples compile without a warning and do what docs/firmware.md says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.support import sample
from tests.support.native import LIBRARY, PORT, SOURCES, WARNINGS, compiler, engine_objects
from tests.support.process import call, need
from tinyfin.codegen import monocypher
from tinyfin.codegen.emit import emit
from tinyfin.features.compiler import compile_program
from tinyfin.pack.container import build_pack, parse_pack, sign_again
from tinyfin.pack.decision import Decision
from tinyfin.pack.golden import Golden
from tinyfin.pack.signing import Key, generate_key
from tinyfin.paths import firmware_dir
from tinyfin.schema import PAYMENT
from tinyfin.twin import Twin

EXAMPLES = firmware_dir() / "examples"
DRIVER = """
#include <stdio.h>
#include <stdlib.h>
#include "replace_pack.c"
static int score(uint64_t id)
{
    tinyfin_payment_t tx = {0};
    tx.present = TINYFIN_PAYMENT_AMOUNT_MINOR;
    tx.amount_minor = 700;
    tfin_event event = {.id = id, .t_mono_s = 500 + (uint32_t)id, .record = &tx};
    event.record_size = sizeof tx;
    tfin_verdict verdict;
    return tfin_score(&engine, &event, &verdict);
}
static int outcome(uint64_t id)
{
    tfin_outcome told = {.id = id, .t_mono_s = 500 + (uint32_t)id};
    return tfin_apply_outcome(&engine, &told);
}
/* packs that arrive, one after another; of each: result, state digest before and after, what
 * became of the transaction that waited, the pack that runs, the highest counter */
int main(int count, char **files)
{
    if (start(tinyfin_pack, TINYFIN_PACK_BYTES) != TFIN_OK) {
        return 1;
    }
    for (int i = 1; i < count; i++) {
        FILE *file = fopen(files[i], "rb");
        uint8_t *pack = aligned_alloc(TFIN_ALIGN, 1 << 20);
        size_t size = file == NULL ? 0 : fread(pack, 1, 1 << 20, file);
        if (size == 0 || score((uint64_t)i) != TFIN_OK) {
            return 2;
        }
        fclose(file);
        unsigned before = tfin_state_digest(&engine);
        int rc = replace(pack, size);
        unsigned after = tfin_state_digest(&engine);
        const uint8_t *id = tfin_pack_id(&engine);
        printf("%s|%d|%d|%02x%02x|%u\\n", tfin_error_name(rc), before == after,
               outcome((uint64_t)i), id == NULL ? 0 : id[0], id == NULL ? 0 : id[1],
               (unsigned)highest_counter);
    }
    return 0;
}
"""


@pytest.fixture(scope="module")
def key() -> Key:
    return generate_key()


def with_counter(pack: bytes, key: Key, counter: int) -> bytes:
    return sign_again(parse_pack(pack, keys=[key.public]), key, security_counter=counter)


def wrong_golden(pack: bytes, key: Key) -> bytes:
    """A good pack for tfin_verify, of which this core would give other scores."""
    parsed = parse_pack(pack, keys=[key.public])
    twin = Twin(pack, keys=[key.public])
    inputs = np.zeros((1, twin.input_count), np.int8)
    golden = Golden(inputs, twin.infer(inputs)[1] + 1).encode()
    return sign_again(parsed, key, sections={**parsed.sections, "GOLD": golden})


def test_a_pack_is_replaced_while_another_one_runs(key: Key, tmp_path: Path) -> None:
    first = sample.make_pack(key=key)
    other_program = build_pack(
        PAYMENT, compile_program(["amt_log", "amt_dev"], PAYMENT, pending=3), key=key
    )
    second = with_counter(sample.make_pack(key=key, tweak=1), key, 3)
    damaged = bytearray(first)
    damaged[-20] ^= 1
    arriving = {
        "damaged": bytes(damaged),
        "other scores": wrong_golden(first, key),
        "another key": sample.make_pack(key=generate_key()),
        "same program": second,
        "an older counter": with_counter(first, key, 2),
        "other program": with_counter(other_program, key, 3),
        "and back": with_counter(first, key, 4),
    }
    files = []
    for name, data in arriving.items():
        files.append(tmp_path / name.replace(" ", "_"))
        files[-1].write_bytes(data)
    emit(first, tmp_path, keys=[key.public])
    (tmp_path / "driver.c").write_text(DRIVER)
    crypto = monocypher.put_beside(tmp_path / "monocypher")[0]
    binary = tmp_path / "driver"
    folders = LIBRARY / "include", tmp_path, crypto.parent, EXAMPLES
    common = compiler(), "-std=c11", "-O1", "-DBLAKE2_NO_UNROLLING", *(f"-I{f}" for f in folders)
    sources = tmp_path / "driver.c", tmp_path / "tinyfin_pack.c", *SOURCES, PORT
    call(*common, *WARNINGS, "-Wno-unused-function", *sources, "-fsyntax-only")
    call(*common, *sources, crypto, "-o", binary)
    lines = [line.split("|") for line in call(binary, *files).stdout.splitlines()]
    said = dict(zip(arriving, lines, strict=True))

    def ids(pack: bytes) -> str:
        return parse_pack(pack).pack_id.hex()[:4]

    kept, unknown = ["1", "0"], ["0", "-24"]
    wanted = {
        "damaged": ("TFIN_E_DIGEST", kept, first, "0"),
        "other scores": ("TFIN_E_GOLDEN", kept, first, "0"),
        "another key": ("TFIN_E_KEY", kept, first, "0"),
        "same program": ("TFIN_OK", kept, second, "3"),
        "an older counter": ("TFIN_E_ROLLBACK", kept, second, "3"),
        "other program": ("TFIN_OK", unknown, arriving["other program"], "3"),
        "and back": ("TFIN_OK", unknown, arriving["and back"], "4"),
    }
    for name, (error, state, pack, counter) in wanted.items():
        assert said[name][0].split(":")[0] == error, name
        assert said[name][1:] == [*state, ids(pack), counter], name


@pytest.mark.parametrize("standard", ["c++11", "c++20"])
@pytest.mark.parametrize("program", ["g++", "clang++-19", "arm-none-eabi-g++"])
def test_the_example_in_cpp(program: str, standard: str, tmp_path: Path) -> None:
    need(program)
    emit(sample.make_pack(), tmp_path)
    includes = [f"-I{folder}" for folder in (LIBRARY / "include", tmp_path)]
    bare = program.startswith("arm")
    flags = [f"-std={standard}", *WARNINGS, "-pedantic", "-fno-exceptions", "-fno-rtti", *includes]
    if bare:
        flags += [f"-I{firmware_dir() / 'ports' / 'include'}", "-ffreestanding"]
        flags += ["-mcpu=cortex-m4", "-mthumb"]
    built = tmp_path / "terminal.o"
    call(program, *flags, "-c", EXAMPLES / "terminal.cpp", "-o", built)
    if bare:
        return
    main = tmp_path / "main.cpp"
    main.write_text("int check_transaction();\nint main() { return -check_transaction(); }\n")
    crypto = monocypher.put_beside(tmp_path / "monocypher")[0]
    flags = ["-std=c99", "-O1", "-DBLAKE2_NO_UNROLLING", *includes, f"-I{crypto.parent}"]
    sources = [*SOURCES, PORT, crypto, tmp_path / "tinyfin_pack.c"]
    call(compiler(), *flags, "-c", *sources, cwd=tmp_path)
    objects = [tmp_path / f"{source.stem}.o" for source in sources]
    call(program, main, built, *objects, "-o", tmp_path / "terminal")
    call(tmp_path / "terminal")


def example_program(
    tmp_path: Path, main: Path, *flags: str, pack: bytes | None = None, more: tuple[Path, ...] = ()
) -> Path:
    """An example with a pack, the engine and Monocypher; it compiles without a warning."""
    emit(pack or sample.make_pack(), tmp_path)
    folders = LIBRARY / "include", tmp_path, EXAMPLES, EXAMPLES / "starter"
    command = compiler(), "-std=c11", "-O1", *flags, *WARNINGS, *(f"-I{f}" for f in folders)
    sources = main, *more, tmp_path / "tinyfin_pack.c"
    binary = tmp_path / "program"
    call(*command, *sources, *engine_objects(*flags), "-o", binary)
    return binary


def test_one_thread_owns_the_engine_and_others_send_to_it(tmp_path: Path) -> None:
    """ThreadSanitizer finds nothing; the control, in which every thread calls the engine itself,
    shows that it looks."""
    main = EXAMPLES / "threads.c"
    flags = "-fsanitize=thread", "-pthread"
    need("setarch")
    fixed = "setarch", "-R"  # ThreadSanitizer knows no address space that is laid out at random
    good = example_program(tmp_path, main, *flags)
    assert call(*fixed, good).stdout == "200 scored, 200 committed\n"
    main = tmp_path / "sabotaged.c"
    main.write_text(f'#define TFIN_SABOTAGE_OWNER\n#include "{EXAMPLES / "threads.c"}"\n')
    bad = example_program(tmp_path, main, *flags)
    # on a busy machine the threads may run one after the other, and the race is not recorded
    for _ in range(50):
        done = call(*fixed, bad, code=None)
        if done.returncode == 66:
            break
    assert done.returncode == 66
    assert "WARNING: ThreadSanitizer: data race" in done.stderr


SLEEPER = """
#include <stdio.h>
#include <string.h>
#include "sleep.c"
static unsigned fed;
void feed_watchdog(void) { fed++; }
static int pay(uint64_t id)
{
    tinyfin_payment_t tx = {.present = TINYFIN_PAYMENT_AMOUNT_MINOR, .amount_minor = 700};
    tfin_event event = {.id = id, .t_mono_s = 1000 + (uint32_t)id, .record = &tx};
    event.record_size = sizeof tx;
    tfin_verdict verdict;
    int rc = tfin_score(&engine, &event, &verdict);
    tfin_outcome outcome = {.id = id, .t_mono_s = event.t_mono_s};
    return rc == TFIN_OK ? tfin_apply_outcome(&engine, &outcome) : rc;
}
int main(void)
{
    memset(retained, 0xA5, sizeof retained);
    unsigned before = fed;
    if (wake() != TFIN_OK || fed == before) { return 1; } /* the first time: cold, and fed */
    unsigned cold = tfin_state_digest(&engine);
    if (pay(1) != TFIN_OK || pay(2) != TFIN_OK) { return 2; }
    unsigned warm = tfin_state_digest(&engine);
    before = fed;
    if (prepare_sleep() != TFIN_OK || fed == before) { return 3; }
    memset(&engine, 0xA5, sizeof engine); /* the RAM loses its power */
    memset(memory, 0xA5, sizeof memory);
    if (wake() != TFIN_OK || warm == cold || tfin_state_digest(&engine) != warm) { return 4; }
    if (pay(3) != TFIN_OK || clock_was_set(100u * 86400u) != TFIN_OK) { return 5; }
    if (prepare_sleep() != TFIN_OK) { return 6; }
    retained[sizeof retained - 1] ^= 1; /* the retained memory, too */
    if (wake() != TFIN_OK || tfin_state_digest(&engine) != cold) { return 7; }
    return 0;
}
"""


def test_a_terminal_sleeps_and_its_watchdog_is_fed(tmp_path: Path) -> None:
    main = tmp_path / "main.c"
    main.write_text(SLEEPER)
    call(example_program(tmp_path, main))
    # the control: a terminal that does not feed it
    main.write_text(SLEEPER.replace("fed++;", ""))
    done = call(example_program(tmp_path, main), code=None)
    assert done.returncode == 1


ADVISED = """
#include <stdio.h>
#include "tinyfin.h"
static char did[4];
static void force_online(void) { did[0] = 'o'; }
static void require_cvm(void) { did[1] = 'c'; }
static void decline(void) { did[2] = 'd'; }
int main(void)
{
    for (int i = 0; i < 6; i++) {
        tfin_verdict verdict = {.action = (uint8_t)(i % 3)};
        verdict.flags = i < 3 ? TFIN_FLAG_CONTROL : TFIN_FLAG_VERIFY;
        enum tfin_advice done = tfin_advice(&verdict);
        tfin_outcome outcome = {0};
        did[0] = did[1] = did[2] = '-';
        SNIPPET
        printf("%s%d%d ", did, (int)done, outcome.action_taken);
    }
    return 0;
}
"""


def test_the_page_acts_on_four_actions(tmp_path: Path) -> None:
    """The switch of docs/firmware.md; ACCEPT with the flag is no verdict."""
    page = (EXAMPLES.parents[1] / "docs" / "firmware.md").read_text(encoding="utf-8")
    snippet = page.partition("## Verify")[2].partition("```c\n")[2].partition("```")[0]
    main = tmp_path / "main.c"
    main.write_text(ADVISED.replace("SNIPPET", snippet))
    command = compiler(), "-std=c11", *WARNINGS, f"-I{LIBRARY / 'include'}", main
    call(*command, "-o", tmp_path / "program")
    said = call(tmp_path / "program").stdout.split()
    assert said[:3] == ["---00", "o--11", "--d32"]
    assert said[4:] == ["oc-21", "--d32"]


PAYER = """
#include <stdio.h>
#include "payment.h"
static uint8_t memory[TINYFIN_MEMORY_BYTES + 4096] __attribute__((aligned(TFIN_ALIGN)));
static uint8_t pack[1 << 16] __attribute__((aligned(TFIN_ALIGN)));
static tfin_engine engine;
int main(int count, char **files)
{
    payment tx = {.id = 7, .t_mono_s = 1000, .t_local_s = 815000000};
    tx.record.present = TINYFIN_PAYMENT_AMOUNT_MINOR;
    tx.record.amount_minor = 1999;
    if (payment_advice(&engine, &tx) != TFIN_ADVICE_ACCEPT) { return 1; } /* not open: no advice */
    tfin_trust trust = {.record = tinyfin_record, .allow_development_key = 1};
    FILE *file = count == 2 ? fopen(files[1], "rb") : NULL;
    if (file == NULL || fread(pack, 1, sizeof pack, file) == 0) { return 2; }
    if (tfin_open(&engine, pack, sizeof pack, memory, sizeof memory, &trust)) { return 3; }
    enum tfin_advice advice = payment_advice(&engine, &tx);
    if (payment_ended(&engine, &tx, 1003, TFIN_RESULT_APPROVED, advice, 0) != TFIN_OK) { return 4; }
    if (payment_ended(&engine, &tx, 1003, TFIN_RESULT_APPROVED, advice, 0) != TFIN_E_UNKNOWN_ID) {
        return 5;
    }
    return 10 + (int)advice;
}
"""


def test_the_payment_application_of_a_new_project(tmp_path: Path) -> None:
    """Advice is what the engine says; of a control event, and without an engine, there is none."""
    main = tmp_path / "main.c"
    main.write_text(PAYER)
    payer = example_program(tmp_path, main, more=(EXAMPLES / "starter" / "payment.c",))
    program = compile_program(["amt_log", "amt_dev"], PAYMENT)
    all_declined = {"go_online_q32": 0, "decline_q32": 0}
    wanted: list[tuple[dict[str, int], int]] = [
        ({}, 0),
        ({"go_online_q32": 0}, 1),
        ({"go_online_q32": 0, "verify_q32": 0}, 2),
        (all_declined, 3),
        ({**all_declined, "control_share_q16": 65535}, 0),
    ]
    for thresholds, advice in wanted:
        decision = Decision((0, 0), (0, 0), **thresholds)
        pack = tmp_path / "model.tfpack"
        pack.write_bytes(sample.pack_of(PAYMENT, program, sample.network(2), decision=decision))
        assert call(payer, pack, code=None).returncode == 10 + advice, thresholds
