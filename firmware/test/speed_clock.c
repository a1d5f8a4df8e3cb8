/* SPDX-License-Identifier: Apache-2.0 */
/* A port whose clock a test moves, for the time that the terminal gives a new speed. See
 * tests/wire/test_speed_clock.py. */
#include "port.h"

const uint32_t tfin_port_abilities = TFIN_PORT_SPEED;
const uint32_t tfin_port_receive_bytes = TFIN_PORT_RECEIVE_BYTES;
const uint32_t tfin_port_tick_hz = 1000000u;
const uint32_t tfin_port_tick_mask = 0xFFFFFFu;

uint32_t now_us;
uint32_t line_baud = TFIN_PORT_BAUD;

uint32_t tfin_port_ticks(void)
{
    return now_us & tfin_port_tick_mask;
}

int tfin_port_set_baud(uint32_t baud)
{
    line_baud = baud;
    return 1;
}

void tfin_port_write(const uint8_t *data, size_t size)
{
    (void)data;
    (void)size;
}

uint32_t tfin_port_entropy(void)
{
    return 1;
}

uint32_t tfin_port_receive_overruns(void)
{
    return 0;
}

void tfin_port_reset(void)
{
}

void tfin_port_exit(int code)
{
    (void)code;
}
