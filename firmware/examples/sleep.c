/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A terminal that sleeps between transactions with its RAM off, under a watchdog. What must outlive
 * the sleep is a state image in memory that keeps its power (or in flash) and a clock that runs on;
 * everything else is made anew at waking. In a sleep that keeps all of the RAM nothing need be
 * done. The tests run this file; docs/firmware.md explains it.
 */
#include "tinyfin.h"
#include "tinyfin_pack.h"

void feed_watchdog(void); /* yours: reloads the chip's watchdog */

/* yours: a section that startup does not clear and that keeps its power in sleep. Its checksum is
 * part of the image: what a power cut leaves there is not taken for a state */
#ifdef TFIN_RETAINED
__attribute__((section(TFIN_RETAINED)))
#endif
static uint8_t retained[TINYFIN_STATE_BYTES];

static uint8_t memory[TINYFIN_MEMORY_BYTES] __attribute__((aligned(TFIN_ALIGN)));
static tfin_engine engine;

static void progress(void *context)
{
    (void)context;
    feed_watchdog();
}

/* At waking, which a restart is, too. The watchdog's time must be longer than the signature check,
 * the one stretch that does not call progress (docs/benchmarks.md). */
int wake(void)
{
    tfin_trust trust = {0};
    trust.record = tinyfin_record;
    trust.keys = tinyfin_trusted_keys;
    trust.key_count = TINYFIN_TRUSTED_KEYS;
    trust.allow_development_key = 1; /* a release: 0 */
    trust.progress = progress;       /* kept: exports and imports call it, too */
    int rc = tfin_open(&engine, tinyfin_pack, TINYFIN_PACK_BYTES, memory, sizeof memory, &trust);
    if (rc != TFIN_OK) {
        return rc;
    }
    rc = tfin_import_state(&engine, 0, retained, sizeof retained);
    int cold = rc == TFIN_E_STATE_MAGIC || rc == TFIN_E_STATE_FORMAT || rc == TFIN_E_STATE_LAYOUT ||
               rc == TFIN_E_STATE_DIGEST;
    return cold ? TFIN_OK : rc;
}

/* Before sleep, between two transactions: those that wait for their outcome are in the image. */
int prepare_sleep(void)
{
    return tfin_export_state(&engine, 0, retained, sizeof retained);
}

/* After a wrong or a dead clock was set. The engine takes no step back, and none of more than 14
 * days (400 after an import), for true by itself. */
int clock_was_set(uint32_t t_mono_s)
{
    return tfin_rebase_time(&engine, t_mono_s);
}
