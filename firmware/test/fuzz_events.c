/* SPDX-License-Identifier: Apache-2.0 */
/* libFuzzer: any records, outcomes, notices and images, in any order, to FUZZ_PACK. */
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
    rig_source s = {.data = data, .left = size};
    (void)tfin_reset(&engine);
    rig_drive(&engine, &s, 64);
    return 0;
}
