/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The engine's own checks on whatever runs this: `pio test -e native`, `-e cortex-m4`, or a board.
 * The pack is the project's (custom_tinyfin_pack). Output: TAP on the serial port, read by
 * ../test_custom_runner.py.
 */
#include "port.h"
#include "tinyfin.h"
#include "tinyfin_pack.h"

#define EVENTS 200u

static uint8_t memory[TINYFIN_MEMORY_BYTES] __attribute__((aligned(TFIN_ALIGN)));
static uint8_t image[TINYFIN_STATE_BYTES];
static uint64_t record[(TINYFIN_RECORD_BYTES + 7) / 8];
static tfin_engine engine;
static unsigned tests;
static unsigned failures;

/* ------------------------------------------------------------------------------------------ TAP */

static void put(const char *text)
{
    while (*text != '\0') {
        tfin_port_write((const uint8_t *)text++, 1);
    }
}

static void put_number(unsigned value)
{
    char digits[12];
    char *at = digits + sizeof digits - 1;
    *at = '\0';
    do {
        *--at = (char)('0' + value % 10u);
        value /= 10u;
    } while (value != 0);
    put(at);
}

static void check(const char *name, int passed, int error)
{
    tests++;
    failures += !passed;
    put(passed ? "ok " : "not ok ");
    put_number(tests);
    put(" - ");
    put(name);
    if (!passed) {
        put(" # engine error ");
        put(error < 0 ? "-" : "");
        put_number((unsigned)(error < 0 ? -error : error));
    }
    put("\n");
}

/* --------------------------------------------------------------------------------------- checks */

static int open_pack(const uint8_t *pack, size_t size)
{
    tfin_trust trust = {0};
    trust.record = tinyfin_record;
    trust.allow_development_key = 1;
#if TINYFIN_TRUSTED_KEYS > 0
    trust.keys = tinyfin_trusted_keys;
    trust.key_count = TINYFIN_TRUSTED_KEYS;
#endif
    return tfin_open(&engine, pack, size, memory, sizeof memory, &trust);
}

/* Event number i, 997 seconds after the one before. */
static tfin_event event_of(uint32_t i)
{
    uint32_t seed = i * 0x9E3779B1u + 1u;
    for (size_t k = 1; k < sizeof record / sizeof record[0]; k++) {
        seed = seed * 1664525u + 1013904223u;
        record[k] = seed % 7u; /* two fields of 32 bits: the first small, the second 0 */
    }
    record[0] = 0xFFFFFFFFu >> (32u - TINYFIN_FIELDS);
    tfin_event event = {.id = i, .t_mono_s = 86400u + i * 997u, .t_local_s = 800000000u + i * 997u};
    event.record = record;
    event.record_size = TINYFIN_RECORD_BYTES;
    return event;
}

/* Scores and settles events first..last-1; the sum of their scores, or an
 * error below 0 in *error. */
static uint32_t run(uint32_t first, uint32_t last, int *error)
{
    uint32_t sum = 0;
    for (uint32_t i = first; i < last && *error == TFIN_OK; i++) {
        tfin_event event = event_of(i);
        tfin_verdict verdict;
        *error = tfin_score(&engine, &event, &verdict);
        sum = sum * 31u + verdict.score_q32 + verdict.action;
        tfin_outcome outcome = {.id = i,
                                .t_mono_s = event.t_mono_s + 1u,
                                .result = TFIN_RESULT_APPROVED,
                                .response = -1};
        if (*error == TFIN_OK && i % 5u != 0) {
            *error = tfin_apply_outcome(&engine, &outcome);
        }
    }
    return sum;
}

static void check_opening(void)
{
    int rc = open_pack(tinyfin_pack, TINYFIN_PACK_BYTES);
    check("the pack opens, and its golden vectors give the expected bytes", rc == TFIN_OK, rc);
    rc = open_pack(tinyfin_pack, TINYFIN_PACK_BYTES - 1);
    check("a pack that is one byte short is refused", rc == TFIN_E_TRUNCATED, rc);
    rc = open_pack(tinyfin_pack + 1, TINYFIN_PACK_BYTES - 1);
    check("a pack that is not aligned is refused", rc == TFIN_E_ALIGN, rc);
    rc = tfin_open(&engine, tinyfin_pack, TINYFIN_PACK_BYTES, memory, sizeof memory - 1,
                   &(tfin_trust){.record = tinyfin_record, .allow_development_key = 1});
    check("memory that is one byte short is refused",
          rc == TFIN_E_MEMORY || (TINYFIN_TRUSTED_KEYS > 0 && rc == TFIN_E_KEY), rc);
}

static void check_events(void)
{
    int rc = open_pack(tinyfin_pack, TINYFIN_PACK_BYTES);
    uint32_t sum = run(0, EVENTS, &rc);
    check("events are scored and settled", rc == TFIN_OK, rc);

    tfin_outcome outcome = {.id = 1,
                            .t_mono_s = 86400u + EVENTS * 997u,
                            .result = TFIN_RESULT_APPROVED,
                            .response = -1};
    int again = tfin_apply_outcome(&engine, &outcome);
    check("an outcome counts once", again == TFIN_E_UNKNOWN_ID, again);

    rc = open_pack(tinyfin_pack, TINYFIN_PACK_BYTES);
    uint32_t same = run(0, EVENTS, &rc);
    check("the same events give the same scores", rc == TFIN_OK && same == sum, rc);
}

static void check_state(void)
{
    int rc = open_pack(tinyfin_pack, TINYFIN_PACK_BYTES);
    (void)run(0, EVENTS / 2u, &rc);
    if (rc == TFIN_OK) {
        rc = tfin_export_state(&engine, 0, image, tfin_state_size(&engine));
    }
    uint32_t digest = tfin_state_digest(&engine);
    uint32_t sum = run(EVENTS / 2u, EVENTS, &rc);
    check("a state image is written", rc == TFIN_OK, rc);

    rc = open_pack(tinyfin_pack, TINYFIN_PACK_BYTES);
    if (rc == TFIN_OK) {
        rc = tfin_import_state(&engine, 0, image, TINYFIN_STATE_BYTES);
    }
    check("and read again: the same digest", rc == TFIN_OK && tfin_state_digest(&engine) == digest,
          rc);
    check("and the same scores as without a restart",
          run(EVENTS / 2u, EVENTS, &rc) == sum && rc == TFIN_OK, rc);

    image[TINYFIN_STATE_BYTES - 1] ^= 1u;
    rc = tfin_import_state(&engine, 0, image, TINYFIN_STATE_BYTES);
    check("a damaged image is refused", rc == TFIN_E_STATE_DIGEST, rc);
}

static void check_stack(void)
{
    int measured = (tfin_port_abilities & TFIN_PORT_STACK) != 0;
    check("the stack was never full", !measured || tfin_port_stack_painted_free() > 0, 0);
}

int main(void)
{
    check_opening();
    check_events();
    check_state();
    check_stack();
    put("1..");
    put_number(tests);
    put("\n");
    tfin_port_exit(failures == 0 ? 0 : 1);
    return failures == 0 ? 0 : 1;
}
