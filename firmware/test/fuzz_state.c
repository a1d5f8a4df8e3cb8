/* SPDX-License-Identifier: Apache-2.0 */
/* libFuzzer: any bytes as the body of a state image of FUZZ_PACK, with a right checksum. */
#include "rig.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    tfin_engine *engine = rig_engine_of(FUZZ_PACK);
    rig_source s = {.seed = 0x9E3779B97F4A7C15u + size};
    (void)rig_import(engine, &s, data, (uint32_t)size);
    rig_drive(engine, &s, 16);
    return 0;
}
