/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Opens a pack and scores one event with it, for an emulator that skips an instruction on
 * the way: see tests/engine/test_glitch.py. Linked with --wrap=crypto_eddsa_check, whose
 * answer is glitch_signature.
 */
#include <string.h>

#include "tinyfin.h"

/* In flash, so that a fault that wipes memory does not change what is asked. */
const volatile int glitch_signature = -1; /* 0 good, -1 bad */
const void *const volatile glitch_pack = &glitch_signature;
const volatile uint32_t glitch_pack_size = 1;
const volatile uint32_t glitch_minimum_counter = 1;

static tfin_engine engine;
static uint8_t memory[16384] __attribute__((aligned(TFIN_ALIGN)));
static uint64_t record[8];

int __wrap_crypto_eddsa_check(const uint8_t signature[64], const uint8_t public_key[32],
                              const uint8_t *message, size_t size);
int glitch_run(void);

int __wrap_crypto_eddsa_check(const uint8_t signature[64], const uint8_t public_key[32],
                              const uint8_t *message, size_t size)
{
    (void)signature;
    (void)public_key;
    (void)message;
    (void)size;
    return glitch_signature;
}

/* TFIN_OK when the engine runs a pack. */
int glitch_run(void)
{
    static const uint32_t record_of_pack = 0;
    tfin_trust trust;
    memset(&trust, 0, sizeof trust);
    trust.record = &record_of_pack;
    trust.allow_development_key = 1;
    trust.minimum_security_counter = glitch_minimum_counter;
    (void)tfin_open(&engine, glitch_pack, glitch_pack_size, memory, sizeof memory, &trust);
    tfin_event event = {
        .id = 1, .t_mono_s = 5, .t_local_s = 5, .record = record, .record_size = sizeof record};
    tfin_verdict verdict;
    return tfin_score(&engine, &event, &verdict);
}
