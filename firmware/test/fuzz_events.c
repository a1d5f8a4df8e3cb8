/* SPDX-License-Identifier: Apache-2.0 */
/* libFuzzer: any records, outcomes, notices and images, in any order, to FUZZ_PACK. */
#include "rig.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    tfin_engine *engine = rig_engine_of(FUZZ_PACK);
    rig_source s = {.data = data, .left = size};
    rig_drive(engine, &s, 64);
    return 0;
}
