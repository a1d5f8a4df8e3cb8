/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The engine against damage, under ASan and UBSan.
 *
 *   engine_check flips  PACK                every truncation and every flipped bit is refused
 *                                           (link the real port)
 *   engine_check packs  PACK ROUNDS SEED    mutated packs, accepted by port_accept.c: refused, or
 *                                           run inside their memory
 *   engine_check states PACK ROUNDS SEED    mutated state images with a right checksum
 *   engine_check events PACK ROUNDS SEED    any calls in any order
 *
 * Prints counts. Ends with 1 when damage was accepted; a sanitizer ends it otherwise.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rig.h"

static int try_open(const uint8_t *pack, size_t size)
{
    static uint8_t memory[1 << 16] __attribute__((aligned(TFIN_ALIGN)));
    tfin_engine engine;
    static const uint32_t record_of_pack = 0;
    tfin_trust trust = {0};
    trust.record = &record_of_pack;
    trust.allow_development_key = 1;
    return tfin_open(&engine, pack, size, memory, sizeof memory, &trust);
}

static int flips(const uint8_t *pack, size_t size)
{
    unsigned long accepted = 0;
    int whole = try_open(pack, size);
    if (whole != TFIN_OK) {
        fprintf(stderr, "the undamaged pack is refused: %s\n", tfin_error_name(whole));
        return 1;
    }
    for (size_t n = 0; n < size; n++) {
        uint8_t *part = rig_copy(pack, n);
        accepted += try_open(part, n) == TFIN_OK;
        free(part);
    }
    uint8_t *copy = rig_copy(pack, size);
    for (size_t bit = 0; bit < 8u * size; bit++) {
        copy[bit >> 3] ^= (uint8_t)(1u << (bit & 7u));
        if (try_open(copy, size) == TFIN_OK) {
            fprintf(stderr, "accepted with bit %zu of byte %zu flipped\n", bit & 7u, bit >> 3);
            accepted++;
        }
        copy[bit >> 3] ^= (uint8_t)(1u << (bit & 7u));
    }
    free(copy);
    printf("truncations %zu flips %zu accepted %lu\n", size, 8u * size, accepted);
    return accepted != 0;
}

static int packs(const uint8_t *pack, size_t size, unsigned long rounds, rig_source *s)
{
    unsigned long refused = 0, ran = 0;
    for (; rounds != 0; rounds--) {
        uint8_t *copy = rig_copy(pack, size);
        uint8_t *memory;
        tfin_engine engine;
        rig_mutate_pack(s, copy, size);
        rig_accept(copy, size);
        if (rig_open(&engine, copy, size, &memory) == TFIN_OK) {
            rig_drive(&engine, s, 12);
            ran++;
        } else {
            refused++;
        }
        free(memory);
        free(copy);
    }
    printf("refused %lu ran %lu\n", refused, ran);
    return 0;
}

/* The engine on a pack as it is. */
static void open_base(tfin_engine *engine, const uint8_t *pack, size_t size, uint8_t **memory,
                      uint8_t **copy)
{
    *copy = rig_copy(pack, size);
    rig_accept(*copy, size);
    int rc = rig_open(engine, *copy, size, memory);
    if (rc != TFIN_OK) {
        fprintf(stderr, "the undamaged pack is refused: %s\n", tfin_error_name(rc));
        exit(1);
    }
}

static int states(const uint8_t *pack, size_t size, unsigned long rounds, rig_source *s)
{
    unsigned long refused = 0, ran = 0;
    uint8_t *copy;
    uint8_t *memory;
    tfin_engine engine;
    open_base(&engine, pack, size, &memory, &copy);
    rig_drive(&engine, s, 200);
    for (; rounds != 0; rounds--) {
        uint32_t n = tfin_state_size(&engine);
        uint8_t *image = rig_exact(n);
        (void)tfin_export_state(&engine, 0, image, n);
        rig_mutate(s, image + 64, n - 64u);
        if (rig_below(s, 16) == 0) {
            memset(image + 64 + rig_below(s, (n - 64u) / 2u), (int)rig_below(s, 256),
                   (n - 64u) / 2u);
        }
        if (rig_import(&engine, s, image, n) == TFIN_OK) {
            ran++;
        } else {
            refused++;
        }
        rig_drive(&engine, s, 12);
        free(image);
    }
    free(memory);
    free(copy);
    printf("refused %lu ran %lu\n", refused, ran);
    return 0;
}

static int events(const uint8_t *pack, size_t size, unsigned long rounds, rig_source *s)
{
    uint8_t *copy;
    uint8_t *memory;
    tfin_engine engine;
    open_base(&engine, pack, size, &memory, &copy);
    rig_drive(&engine, s, (uint32_t)rounds);
    tfin_stats stats;
    (void)tfin_get_stats(&engine, &stats);
    printf("scored %u committed %u notices %u overflows %u evictions %u\n", (unsigned)stats.scored,
           (unsigned)stats.committed, (unsigned)stats.notices, (unsigned)stats.pending_overflows,
           (unsigned)stats.evictions);
    free(memory);
    free(copy);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc != 3 && argc != 5) {
        fputs("usage: engine_check flips|packs|states|events PACK [ROUNDS SEED]\n", stderr);
        return 2;
    }
    size_t size;
    uint8_t *pack = rig_read(argv[2], &size);
    int rc = 2;
    if (strcmp(argv[1], "flips") == 0) {
        rc = flips(pack, size);
    } else if (argc == 5) {
        unsigned long rounds = strtoul(argv[3], NULL, 10);
        rig_source s = {.seed = strtoull(argv[4], NULL, 10) * 0x9E3779B97F4A7C15u + 1u};
        rc = strcmp(argv[1], "packs") == 0    ? packs(pack, size, rounds, &s)
             : strcmp(argv[1], "states") == 0 ? states(pack, size, rounds, &s)
                                              : events(pack, size, rounds, &s);
    }
    free(pack);
    return rc;
}
