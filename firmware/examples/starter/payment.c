/* SPDX-License-Identifier: Apache-2.0 */
#include "payment.h"

enum tfin_advice payment_advice(tfin_engine *engine, const payment *tx)
{
    tfin_event event = {.id = tx->id, .t_mono_s = tx->t_mono_s, .t_local_s = tx->t_local_s};
    event.record = &tx->record;
    event.record_size = sizeof tx->record;
    tfin_verdict verdict;
    if (tfin_score(engine, &event, &verdict) != TFIN_OK) {
        return TFIN_ADVICE_ACCEPT;
    }
    if ((verdict.flags & TFIN_FLAG_CONTROL) != 0) {
        return TFIN_ADVICE_ACCEPT; /* judged without the model, so that it can be trained again */
    }
    return tfin_advice(&verdict);
}

int payment_ended(tfin_engine *engine, const payment *tx, uint32_t t_mono_s,
                  enum tfin_result result, enum tfin_advice taken, int16_t response)
{
    tfin_outcome outcome = {.id = tx->id, .t_mono_s = t_mono_s, .response = response};
    outcome.result = (uint8_t)result;
    outcome.action_taken = tfin_action_taken(taken);
    return tfin_apply_outcome(engine, &outcome);
}
