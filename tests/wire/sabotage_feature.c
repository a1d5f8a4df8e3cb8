/* SPDX-License-Identifier: Apache-2.0 */
/* Negative control: alters one feature of one event after it has been scored, so
 * that no score changes. */
#include "tinyfin.h"

int __real_tfin_score(tfin_engine *engine, const tfin_event *event, tfin_verdict *verdict);
int __wrap_tfin_score(tfin_engine *engine, const tfin_event *event, tfin_verdict *verdict);

int __wrap_tfin_score(tfin_engine *engine, const tfin_event *event, tfin_verdict *verdict)
{
    int rc = __real_tfin_score(engine, event, verdict);
    if (event->id % 97 == 41) {
        uint32_t count;
        int16_t *features = (int16_t *)(uintptr_t)tfin_features(engine, &count);
        features[5] ^= 1;
    }
    return rc;
}
