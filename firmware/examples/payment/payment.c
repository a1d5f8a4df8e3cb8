/* SPDX-License-Identifier: Apache-2.0 */
#include "payment.h"

static uint8_t memory[TINYFIN_MEMORY_BYTES] __attribute__((aligned(TFIN_ALIGN)));
static tfin_engine engine;
static uint64_t last_id;

int payment_open(const void *pack, size_t pack_bytes, tfin_progress *progress)
{
    tfin_trust trust = {0};
    trust.record = tinyfin_record;
    trust.keys = tinyfin_trusted_keys;
    trust.key_count = TINYFIN_TRUSTED_KEYS;
    trust.allow_development_key = 1; /* a release: TFIN_RELEASE, and keys of its own */
    trust.progress = progress;
    return tfin_open(&engine, pack, pack_bytes, memory, sizeof memory, &trust);
}

int payment_check(uint32_t now_s, int64_t amount_minor, tfin_verdict *verdict)
{
    tinyfin_payment_t record = {0};
    record.amount_minor = amount_minor;
    record.present = TINYFIN_PAYMENT_AMOUNT_MINOR;
    tfin_event event = {.id = ++last_id, .t_mono_s = now_s, .record = &record};
    event.record_size = sizeof record;
    int rc = tfin_score(&engine, &event, verdict);
    if (rc != TFIN_OK) {
        return rc;
    }
    tfin_outcome outcome = {.id = event.id, .t_mono_s = now_s, .result = TFIN_RESULT_APPROVED};
    outcome.action_taken = verdict->action;
    return tfin_apply_outcome(&engine, &outcome);
}

tfin_engine *payment_engine(void)
{
    return &engine;
}
