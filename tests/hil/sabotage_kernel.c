/* SPDX-License-Identifier: Apache-2.0 */
/* Negative control: linked with -Wl,--wrap=tfin_infer the network's raw answer is one too high,
 * as by a wrong kernel. */
#include "tinyfin.h"

int __real_tfin_infer(tfin_engine *engine, const int8_t *input, uint32_t length, int32_t *raw);
int __wrap_tfin_infer(tfin_engine *engine, const int8_t *input, uint32_t length, int32_t *raw);

int __wrap_tfin_infer(tfin_engine *engine, const int8_t *input, uint32_t length, int32_t *raw)
{
    int rc = __real_tfin_infer(engine, input, length, raw);
    *raw += 1;
    return rc;
}
