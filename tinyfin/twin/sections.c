/* SPDX-License-Identifier: Apache-2.0 */
/* The engine's own checks of sections, which these two files keep to themselves. */
#include "sections.h"

#include "model.c"
#include "pack.c"
#include "tinyfin_monitor.h"

int32_t tfin_open_program(tfin_engine *e, const uint8_t *schema, uint32_t schema_size,
                          const uint8_t *program, uint32_t program_size)
{
    static const uint32_t any_record;
    section s[S_COUNT];
    memset(e, 0, sizeof *e);
    name_sections(s);
    s[S_SCHEMA].payload = schema;
    s[S_SCHEMA].size = schema_size;
    s[S_PROGRAM].payload = program;
    s[S_PROGRAM].size = program_size;
    int32_t rc = find_parts(e, s, &any_record);
    rc = rc == TFIN_OK ? lay_out(e) : rc;
    if (rc >= 0) {
        e->memory_bytes = (uint32_t)rc;
        e->open = TFIN_OPEN;
    }
    return rc;
}

int tfin_start_program(tfin_engine *e, void *memory, size_t memory_size)
{
    return give_memory(e, NULL, memory, memory_size);
}

int32_t tfin_monitor_bytes_of(const void *pack, size_t pack_size)
{
    static const uint32_t any_record;
    section s[S_COUNT];
    tfin_engine e = {.pack = pack};
    int rc = frame_ok(pack, pack_size);
    rc = rc == TFIN_OK ? walk_sections(pack, s) : rc;
    rc = rc == TFIN_OK ? find_parts(&e, s, &any_record) : rc;
    e.open = TFIN_OPEN;
    return rc == TFIN_OK ? tfin_monitor_bytes(&e) : rc;
}

int tfin_open_network(tfin_engine *e, const uint8_t *plan, uint32_t plan_size,
                      const uint8_t *readout, uint32_t readout_size)
{
    memset(e, 0, sizeof *e);
    int rc = tfin_net_check(plan, plan_size, TFIN_KERNELS_ALL);
    if (rc != TFIN_OK) {
        return rc;
    }
    e->plan = plan;
    e->readout = readout;
    if (!readout_ok(e, readout_size)) {
        return TFIN_E_MODEL;
    }
    e->open = TFIN_OPEN;
    return TFIN_OK;
}
