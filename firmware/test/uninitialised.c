/* SPDX-License-Identifier: Apache-2.0 */
/* Opens a pack, scores and exports in memory that was never written before; MemorySanitizer
 * watches what is read of it. */
#include <sanitizer/msan_interface.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tinyfin.h"
#include "tinyfin_pack.h"

static tfin_engine engine;

int main(void)
{
    tfin_trust trust = {.record = tinyfin_record, .allow_development_key = 1};
    uint8_t *memory = aligned_alloc(TFIN_ALIGN, (TINYFIN_MEMORY_BYTES + TFIN_ALIGN - 1u) /
                                                    TFIN_ALIGN * TFIN_ALIGN);
    uint8_t *image = malloc(TINYFIN_STATE_BYTES);
    uint64_t record[TINYFIN_RECORD_BYTES / 8];
    memset(record, 0, sizeof record);
    int rc =
        tfin_open(&engine, tinyfin_pack, TINYFIN_PACK_BYTES, memory, TINYFIN_MEMORY_BYTES, &trust);
    uint64_t seen = 0;
    for (uint32_t i = 0; rc == TFIN_OK && i < 50; i++) {
        tfin_event event = {.id = i,
                            .t_mono_s = 1000 * i,
                            .t_local_s = 1000 * i,
                            .record = record,
                            .record_size = sizeof record};
        tfin_outcome outcome = {.id = i, .t_mono_s = 1000 * i + 2, .result = TFIN_RESULT_APPROVED};
        tfin_verdict verdict;
        memset(record, (int)i, 1); /* which fields are there */
        memset(record + 1, (int)i, 12);
        rc = tfin_score(&engine, &event, &verdict);
        seen += verdict.score_q32 + (uint32_t)verdict.raw + verdict.action + verdict.flags +
                verdict.reason_count;
        for (uint32_t r = 0; r < verdict.reason_count; r++) {
            seen += verdict.reasons[r];
        }
        rc = rc == TFIN_OK ? tfin_apply_outcome(&engine, &outcome) : rc;
    }
    rc = rc == TFIN_OK ? tfin_export_state(&engine, 0, image, TINYFIN_STATE_BYTES) : rc;
    for (uint32_t i = 0; i < TINYFIN_STATE_BYTES; i++) {
        seen = seen * 31u + image[i];
    }
#ifdef SABOTAGE
    uint8_t *volatile fresh = malloc(1);
    seen += *fresh;
#endif
    __msan_check_mem_is_initialized(&seen, sizeof seen);
    printf("%d\n", rc);
    free(memory);
    free(image);
    return rc;
}
