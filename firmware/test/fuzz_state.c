/* SPDX-License-Identifier: Apache-2.0 */
/* libFuzzer: any bytes as the body of a state image of FUZZ_PACK, with a right checksum. */
#include <stdlib.h>

#include "rig.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t *pack;
    static uint8_t *memory;
    static tfin_engine engine;
    if (pack == NULL) {
        size_t pack_size;
        pack = rig_read(FUZZ_PACK, &pack_size);
        rig_accept(pack, pack_size);
        if (rig_open(&engine, pack, pack_size, &memory) != TFIN_OK) {
            abort();
        }
    }
    rig_source s = {.seed = 0x9E3779B97F4A7C15u + size};
    (void)tfin_reset(&engine);
    (void)rig_import(&engine, &s, data, (uint32_t)size);
    rig_drive(&engine, &s, 16);
    return 0;
}
