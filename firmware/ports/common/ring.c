/* SPDX-License-Identifier: Apache-2.0 */
#include "ring.h"

#include "port.h"

#if (TFIN_PORT_RECEIVE_BYTES & (TFIN_PORT_RECEIVE_BYTES - 1)) != 0 || \
    TFIN_PORT_RECEIVE_BYTES > 32768
#error "TFIN_PORT_RECEIVE_BYTES must be a power of two, at most 32768"
#endif

/* Both counters run freely: each has one writer, and their difference is what is in the ring. */
static volatile uint8_t ring[TFIN_PORT_RECEIVE_BYTES];
static volatile uint16_t put;
static volatile uint16_t got;
static volatile uint32_t overruns;

void tfin_ring_put(uint8_t byte)
{
    uint16_t at = put;
    if ((uint16_t)(at - got) == TFIN_PORT_RECEIVE_BYTES) {
        overruns++;
        return;
    }
    ring[at & (TFIN_PORT_RECEIVE_BYTES - 1u)] = byte;
    put = (uint16_t)(at + 1u);
}

void tfin_ring_overrun(void)
{
    overruns++;
}

int tfin_ring_empty(void)
{
    return got == put;
}

int tfin_ring_full(void)
{
    return (uint16_t)(put - got) == TFIN_PORT_RECEIVE_BYTES;
}

int tfin_ring_get(void)
{
    uint16_t at = got;
    if (at == put) {
        return -1;
    }
    uint8_t byte = ring[at & (TFIN_PORT_RECEIVE_BYTES - 1u)];
    got = (uint16_t)(at + 1u);
    return (int)byte;
}

uint32_t tfin_ring_overruns(void)
{
    return overruns;
}
