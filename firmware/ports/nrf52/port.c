/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nRF52, its UART and core timed by the 32 MHz crystal that every board with this chip has. The
 * board file says with TFIN_PORT_TX and TFIN_PORT_RX which pins lead to the host: 6 is P0.06, 33 is
 * P1.01. Registers: nRF52840 Product Specification 1.7; the nRF52832 and nRF52833 have the same.
 */
#include "nrf5.h"

#if F_CPU != 64000000
#error "build.f_cpu: an nRF52 runs at 64000000L"
#endif

#define RNG 0x4000D000u
#define RNG_START (RNG + 0x000u)
#define RNG_READY (RNG + 0x100u)
#define RNG_VALUE (RNG + 0x508u)
#define RNG_TURNS 10000u /* a byte takes about 30 us */

const uint32_t tfin_port_abilities = TFIN_PORT_REBOOT | TFIN_PORT_STACK | TFIN_PORT_SPEED;
const uint32_t tfin_port_tick_hz = F_CPU;
const uint32_t tfin_port_tick_mask = 0xFFFFFFu;

void tfin_port_init(void)
{
    crystal_start();
    uart_start();
    TFIN_REG(RNG_START) = 1;
    tfin_cortex_m_systick_start();
}

uint32_t tfin_port_ticks(void)
{
    return tfin_cortex_m_systick();
}

uint32_t tfin_port_noise(void)
{
    uint32_t noise = TFIN_REG(DEVICE_ID);
    for (uint32_t i = 0; i < 4; i++) {
        for (uint32_t turns = 0; turns < RNG_TURNS && TFIN_REG(RNG_READY) == 0; turns++) {
        }
        TFIN_REG(RNG_READY) = 0;
        noise = (noise << 8 | noise >> 24) ^ TFIN_REG(RNG_VALUE);
    }
    return noise;
}
