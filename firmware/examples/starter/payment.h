/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What your payment application calls: before authorisation, and when a transaction has ended.
 * One thread at a time; never from an interrupt (tinyfin.h, OWNERSHIP).
 */
#ifndef PAYMENT_H
#define PAYMENT_H

#include "tinyfin.h"
#include "tinyfin_pack.h"

typedef struct payment {
    uint64_t id;        /* names the transaction until its end: STAN and date, or the RRN */
    uint32_t t_mono_s;  /* seconds that never run backwards, over restarts too */
    uint32_t t_local_s; /* seconds since 2000-01-01 00:00, local time */
    tinyfin_payment_t record;
} payment;

/* What the model advises. Advice only raises caution: a decline of the EMV kernel stays a decline.
 * An engine that cannot score advises nothing, so that payments go on without it. */
enum tfin_advice payment_advice(tfin_engine *engine, const payment *tx);

/* How it ended, and what the terminal did; only now it counts for later ones. `response` is ISO
 * 8583 DE39, -1 without one. Returns TFIN_OK or the engine's error. */
int payment_ended(tfin_engine *engine, const payment *tx, uint32_t t_mono_s,
                  enum tfin_result result, enum tfin_advice taken, int16_t response);

#endif
