/* SPDX-License-Identifier: Apache-2.0 */
/* Many terminals at once, one event each: the engine's operators, each run over all of
 * them before the next. */
#ifndef TINYFIN_LANES_H
#define TINYFIN_LANES_H

#include "tinyfin.h"

#define TFIN_LANES 32u

typedef struct tfin_lanes tfin_lanes;

/* Memory for one thread that runs packs like this open engine's, aligned to 64. */
size_t tfin_lanes_size(const tfin_engine *engine);
void tfin_lanes_init(tfin_lanes *lanes, const tfin_engine *engine);

/* tfin_score and tfin_apply_outcome of n <= TFIN_LANES different terminals of that pack,
 * byte for byte. A score that is refused gives the engine's error, and then nothing is known
 * of the other lanes. */
int tfin_lanes_score(tfin_lanes *lanes, uint32_t n, tfin_engine *const *engines,
                     const tfin_event *events, tfin_verdict *verdicts);
void tfin_lanes_outcome(tfin_lanes *lanes, uint32_t n, tfin_engine *const *engines,
                        const tfin_outcome *outcomes);

#endif
