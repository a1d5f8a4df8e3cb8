/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ESP32 (LX6) and ESP32-S3 (LX7) without ESP-IDF, in the call0 code of the lx106's compiler: its
 * instructions are a part of theirs. The core runs from the crystal, as the ROM leaves it; UART0,
 * or the S3's own USB, is polled.
 */
#include "espressif.h"

#include "espressif_polled.h"

#if F_CPU != CRYSTAL_HZ
#error "build.f_cpu: this port runs an ESP32 and an ESP32-S3 from their crystal, 40000000L"
#endif
#ifdef TFIN_CHIP_ESP32
#define CORE_DIVIDER 0x3FF66000u
#define CORE_SOURCE 0x3FF48070u
#define CORE_SOURCE_MASK (3u << 27)
#else
#define CORE_SOURCE 0x600C0060u
#define CORE_SOURCE_MASK 0xFFFu /* source and divider */
#endif

void tfin_port_init(void)
{
    watchdogs_off();
#ifdef CORE_DIVIDER
    TFIN_REG(CORE_DIVIDER) &= ~0x3FFu;
#endif
    TFIN_REG(CORE_SOURCE) &= ~CORE_SOURCE_MASK; /* source 0 is the crystal, undivided */
    (void)tfin_port_set_baud(TFIN_PORT_BAUD);
}

uint32_t tfin_port_ticks(void)
{
    uint32_t count = 0;
    __asm volatile("rsr %0, ccount" : "=r"(count));
    return count;
}
