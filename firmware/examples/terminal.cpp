// SPDX-License-Identifier: Apache-2.0
// The engine from C++11 or later, without heap, exceptions or RTTI. The tests
// compile and run this file.
#include <stdint.h>

#include "tinyfin.h"
#include "tinyfin_pack.h"

// One model with its memory. Its address stays: neither copied nor moved.
class Model {
public:
    Model() = default;
    Model(const Model &) = delete;
    Model &operator=(const Model &) = delete;

    int open(bool development)
    {
        tfin_trust trust = tfin_trust();
        trust.record = tinyfin_record;
        trust.keys = tinyfin_trusted_keys;
        trust.key_count = TINYFIN_TRUSTED_KEYS;
        trust.allow_development_key = development ? 1 : 0;
        return tfin_open(&engine_, tinyfin_pack, TINYFIN_PACK_BYTES, memory_, sizeof memory_,
                         &trust);
    }

    int score(uint64_t id, uint32_t t_mono_s, uint32_t t_local_s, const tinyfin_payment_t &record,
              tfin_verdict &verdict)
    {
        tfin_event event = tfin_event();
        event.id = id;
        event.t_mono_s = t_mono_s;
        event.t_local_s = t_local_s;
        event.record = &record;
        event.record_size = sizeof record;
        return tfin_score(&engine_, &event, &verdict);
    }

    int outcome(uint64_t id, uint32_t t_mono_s, tfin_result result, tfin_action taken,
                int16_t response = -1)
    {
        tfin_outcome outcome = tfin_outcome();
        outcome.id = id;
        outcome.t_mono_s = t_mono_s;
        outcome.result = static_cast<uint8_t>(result);
        outcome.action_taken = static_cast<uint8_t>(taken);
        outcome.response = response;
        return tfin_apply_outcome(&engine_, &outcome);
    }

private:
    alignas(TFIN_ALIGN) uint8_t memory_[TINYFIN_MEMORY_BYTES] = {};
    tfin_engine engine_ = tfin_engine();
};

static Model model; // static: no task's stack is large enough

int check_transaction()
{
    int rc = model.open(true); // a release: false
    if (rc != TFIN_OK) {
        return rc;
    }
    tinyfin_payment_t record = tinyfin_payment_t();
    record.amount_minor = 1999;
    record.token = 0x5f2c9a1be07743d2u;
    record.entry_mode = TINYFIN_PAYMENT_ENTRY_MODE_CHIP;
    record.present =
        TINYFIN_PAYMENT_AMOUNT_MINOR | TINYFIN_PAYMENT_TOKEN | TINYFIN_PAYMENT_ENTRY_MODE;
    tfin_verdict verdict = tfin_verdict();
    rc = model.score(1001, 86400, 815000000, record, verdict);
    if (rc != TFIN_OK) {
        return rc;
    }
    return model.outcome(1001, 86403, TFIN_RESULT_APPROVED,
                         static_cast<tfin_action>(verdict.action), 0);
}
