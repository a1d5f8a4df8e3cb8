/* SPDX-License-Identifier: Apache-2.0 */
/* libFuzzer: any bytes as a pack that the port accepts. Refused, or run inside its memory. */
#include <stdlib.h>
#include <string.h>

#include "rig.h"
#include "tinyfin_monitor.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Counts in exactly the bytes that DRFT and LEVL ask for, and takes images of any body. */
static void monitor(tfin_engine *engine, rig_source *s)
{
    int32_t bytes = tfin_monitor_bytes(engine);
    if (bytes <= 0) {
        return;
    }
    uint8_t *memory = rig_exact((size_t)bytes);
    tfin_monitor m;
    if (tfin_monitor_open(&m, engine, memory, (size_t)bytes) != TFIN_OK) {
        abort();
    }
    uint32_t size = tfin_monitor_size(&m);
    uint8_t *image = rig_exact(size);
    tfin_verdict v;
    memset(&v, 0, sizeof v);
    for (uint32_t i = 0; i < 40; i++) {
        v.score_q32 = rig_extreme(s);
        v.action = (uint8_t)rig_below(s, 3);
        (void)tfin_monitor_count(&m, &v);
        (void)tfin_monitor_export(&m, image, size);
        uint8_t *body = image + TFIN_MONITOR_HEADER;
        body[rig_below(s, size - TFIN_MONITOR_HEADER)] = (uint8_t)rig_u32(s);
        uint32_t crc = tfin_crc32(0, body, size - TFIN_MONITOR_HEADER);
        memcpy(image + 8, &crc, sizeof crc);
        (void)tfin_monitor_import(&m, image, size);
        rig_drive(engine, s, 1);
    }
    free(image);
    free(memory);
}

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
        monitor(&engine, &s);
    }
    free(memory);
    free(pack);
    return 0;
}
