/* SPDX-License-Identifier: Apache-2.0 */
/*
 *   hash_events PACK EVENTS
 *
 * Scores so many events of a fixed stream, settles them, gives notices of them, restarts from a
 * state image now and then, and prints one CRC-32 over every verdict, feature and network output
 * and over the state. Whatever compiler made it prints the same.
 */
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rig.h"

enum { RECORD_WORDS = 33 }; /* the mask, and 32 fields of 8 bytes */

static uint32_t crc;

static void mix(const void *data, size_t size)
{
    crc = tfin_crc32(crc, data, size);
}

static void score(tfin_engine *e, uint32_t i, uint32_t t, uint64_t *record)
{
    uint32_t seed = i * 0x9E3779B1u + 1u;
    for (uint32_t k = 1; k < RECORD_WORDS; k++) {
        seed = seed * 1664525u + 1013904223u;
        record[k] = (seed >> 28) < 13u ? seed >> 24 & 7u : (uint64_t)seed << (seed & 31u);
    }
    record[0] = (seed & 3u) != 0 ? 0xFFFFFFFFu : seed * 2654435761u;
    tfin_event event = {.id = i,
                        .t_mono_s = t,
                        .t_local_s = t + 7200u,
                        .record = record,
                        .record_size = 8u * RECORD_WORDS};
    tfin_verdict v;
    memset(&v, 0, sizeof v);
    int rc = tfin_score(e, &event, &v);
    uint32_t counts[2];
    const int16_t *features = tfin_features(e, &counts[0]);
    const int8_t *outputs = tfin_network_output(e, &counts[1]);
    mix(&rc, sizeof rc);
    /* an i386 ends it without padding */
    mix(&v, offsetof(tfin_verdict, reserved) + sizeof v.reserved);
    mix(features, 2u * counts[0]);
    mix(outputs, counts[1]);
}

static void settle(tfin_engine *e, uint32_t i, uint32_t t)
{
    tfin_outcome outcome = {.id = i - i % 3u,
                            .t_mono_s = t + 2u,
                            .result = (uint8_t)(i % 5u),
                            .action_taken = (uint8_t)(i % 3u),
                            .response = (int16_t)(i % 7u * 9u)};
    int rc = tfin_apply_outcome(e, &outcome);
    mix(&rc, sizeof rc);
    if (i % 4u == 0) {
        tfin_notice notice = {.id = i / 2u,
                              .token = i % 8u,
                              .t_mono_s = t + 3u,
                              .t_tx_mono_s = t - i % 9000u,
                              .fraud = i % 8u == 0};
        rc = tfin_apply_notice(e, &notice);
        mix(&rc, sizeof rc);
    }
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fputs("usage: hash_events PACK EVENTS\n", stderr);
        return 2;
    }
    size_t size;
    uint8_t *pack = rig_read(argv[1], &size);
    uint32_t events = (uint32_t)strtoul(argv[2], NULL, 10);
    static uint64_t record[RECORD_WORDS];
    uint8_t *memory;
    tfin_engine engine;
    rig_accept(pack, size);
    int rc = rig_open(&engine, pack, size, &memory);
    if (rc != TFIN_OK) {
        fprintf(stderr, "the pack is refused: %s\n", tfin_error_name(rc));
        return 1;
    }
    uint32_t state = tfin_state_size(&engine);
    uint8_t *image = rig_exact(state);
    uint32_t t = 800000000u;
    for (uint32_t i = 0; i < events; i++) {
        t += i * 2654435761u >> 22; /* up to 17 minutes */
        score(&engine, i, t, record);
        settle(&engine, i, t);
        if (i % 1000u == 999u) {
            (void)tfin_export_state(&engine, 0, image, state);
            mix(image, state);
            (void)tfin_reset(&engine);
            rc = tfin_import_state(&engine, 0, image, state);
            mix(&rc, sizeof rc);
        }
    }
    uint32_t digest = tfin_state_digest(&engine);
    mix(&digest, sizeof digest);
    free(image);
    free(memory);
    free(pack);
    printf("%08x\n", (unsigned)crc);
    return 0;
}
