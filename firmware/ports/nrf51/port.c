/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nRF51. The board file says with TFIN_PORT_TX and TFIN_PORT_RX which pins lead to the host (24 is
 * P0.24), and, if the UART is to be timed by the crystal instead of the RC oscillator, with
 * TFIN_PORT_CRYSTAL_HZ what crystal there is. The chip's core has no SysTick: ticks are those of
 * TIMER0, at 16 MHz as the core. Registers: nRF51 Series Reference Manual 3.0.
 */
#include "nrf5.h"

#if defined(TFIN_PORT_CRYSTAL_HZ) && TFIN_PORT_CRYSTAL_HZ != 16000000 && \
    TFIN_PORT_CRYSTAL_HZ != 32000000
#error "TFIN_PORT_CRYSTAL_HZ: an nRF51 has a crystal of 16000000 or 32000000 Hz"
#endif
#if F_CPU != 16000000
#error "build.f_cpu: an nRF51 runs at 16000000L"
#endif

#define XTALFREQ 0x40000550u
#define TIMER 0x40008000u
#define TIMER_START (TIMER + 0x000u)
#define TIMER_CAPTURE (TIMER + 0x040u)
#define TIMER_BITMODE (TIMER + 0x508u)
#define TIMER_PRESCALER (TIMER + 0x510u)
#define TIMER_CAPTURED (TIMER + 0x540u)

/* QEMU's machine can be left, a chip cannot */
#ifdef TFIN_PORT_EMULATED
const uint32_t tfin_port_abilities =
    TFIN_PORT_EXIT | TFIN_PORT_REBOOT | TFIN_PORT_STACK | TFIN_PORT_SPEED;
#else
const uint32_t tfin_port_abilities = TFIN_PORT_REBOOT | TFIN_PORT_STACK | TFIN_PORT_SPEED;
#endif
const uint32_t tfin_port_tick_hz = F_CPU;
const uint32_t tfin_port_tick_mask = 0xFFFFFFFFu;

void tfin_port_init(void)
{
#ifdef TFIN_PORT_CRYSTAL_HZ
    TFIN_REG(XTALFREQ) = TFIN_PORT_CRYSTAL_HZ == 32000000 ? 0x00u : 0xFFu;
    crystal_start();
#endif
    uart_start();
    TFIN_REG(TIMER_BITMODE) = 3; /* 32 bits */
    TFIN_REG(TIMER_PRESCALER) = 0;
    TFIN_REG(TIMER_START) = 1;
}

uint32_t tfin_port_ticks(void)
{
    TFIN_REG(TIMER_CAPTURE) = 1;
    return TFIN_REG(TIMER_CAPTURED);
}

uint32_t tfin_port_noise(void)
{
    return TFIN_REG(DEVICE_ID);
}
