/* SPDX-License-Identifier: Apache-2.0 */
/* What the engine asks of a network to give reasons. */
#ifndef TFIN_NET_H
#define TFIN_NET_H

#include "net_plan.h"

/* The plan is one DENSITY over the input: then the score is a sum of terms, one per input, and what
 * an input adds to it is known without a run. */
int tfin_net_terms_known(const uint8_t *plan);

/* What accumulator 0 would change by if input `index` were `to` instead of `from`; only when
 * tfin_net_terms_known, and index < the input's length. */
int32_t tfin_net_change(const uint8_t *plan, uint32_t index, int8_t from, int8_t to);

#endif
