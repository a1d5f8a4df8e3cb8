/* SPDX-License-Identifier: Apache-2.0 */
/* The smallest application: one engine, one kind of transaction. The examples of every build system
 * link it (docs/ecosystems.md). */
#ifndef PAYMENT_H
#define PAYMENT_H

#include "tinyfin.h"
#include "tinyfin_pack.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Opens a pack; tinyfin_pack is the one in the image. `progress` feeds the watchdog, or is null. */
int payment_open(const void *pack, size_t pack_bytes, tfin_progress *progress);

/* Scores a purchase at `now_s`, which never runs backwards, and reports that it was approved. */
int payment_check(uint32_t now_s, int64_t amount_minor, tfin_verdict *verdict);

/* For the calls of tinyfin.h: state, statistics. */
tfin_engine *payment_engine(void);

#ifdef __cplusplus
}
#endif
#endif
