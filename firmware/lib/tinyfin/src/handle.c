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

/* Seconds that the clock may step ahead: the program's own, or where it says 0 the usual. */
static uint32_t leap(const tfin_engine *e, uint32_t at, uint32_t usual_days)
{
    uint32_t own = tfin_u32(e->program + at);
    return own != 0 ? own : usual_days * 86400u;
}

void tfin_boot(tfin_engine *e)
{
    e->leap_s[0] = leap(e, PROG_LEAP, 400);
    e->leap_s[1] = leap(e, PROG_BOOT_LEAP, 14);
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
