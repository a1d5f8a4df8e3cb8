/* SPDX-License-Identifier: Apache-2.0 */
/* libFuzzer: any bytes as a pack that the port accepts. Refused, or run inside its memory. */
#include <stdlib.h>

#include "rig.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t whole = size & ~(size_t)15;
    uint8_t *pack = rig_copy(data, whole);
    uint8_t *memory;
    tfin_engine engine;
    rig_source s = {.seed = 0x9E3779B97F4A7C15u + size};
    rig_accept(pack, whole);
    if (rig_open(&engine, pack, whole, &memory) == TFIN_OK) {
        rig_drive(&engine, &s, 16);
    }
    free(memory);
    free(pack);
    return 0;
}
