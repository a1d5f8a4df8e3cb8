/* SPDX-License-Identifier: Apache-2.0 */
/* The handle of an engine: whether it is open, and what it points to. */
#include "internal.h"

int tfin_usable(const tfin_engine *e)
{
    return e == NULL ? TFIN_E_ARGUMENT : e->open != TFIN_OPEN ? TFIN_E_CLOSED : TFIN_OK;
}

void tfin_feed(tfin_progress *progress, void *of)
{
    if (progress != NULL) {
        progress(of);
    }
}

uint32_t tfin_leap_s(const tfin_engine *e, uint32_t at, uint32_t usual_days)
{
    uint32_t own = tfin_u32(e->program + at);
    return own != 0 ? own : usual_days * 86400u;
}

void tfin_boot(tfin_engine *e)
{
    e->leap_s[0] = tfin_leap_s(e, PROG_LEAP, 400);
}

const uint8_t *tfin_pack_id(const tfin_engine *e)
{
    return tfin_usable(e) == TFIN_OK ? e->pack_id : NULL;
}

const tfin_schema *tfin_event_schema(const tfin_engine *e)
{
    return tfin_usable(e) == TFIN_OK ? e->schema : NULL;
}

const uint8_t *tfin_network_plan(const tfin_engine *e)
{
    return tfin_usable(e) == TFIN_OK ? e->plan : NULL;
}
