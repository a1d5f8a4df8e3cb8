/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shows the flash from TFIN_PORT_PROGRAM_AT on at the windows for code and for data; until then
 * only what the ROM has copied to RAM can run. Registers only: the ROM's functions are called in
 * another way than this code is. A cache that never answers leaves nothing to run, so the waits
 * have no end.
 */
#include <stdint.h>

#include "registers.h"

#define PAGE_SHIFT 16u /* a page is 64 KiB */
#define FIRST_PAGE (TFIN_PORT_PROGRAM_AT >> PAGE_SHIFT)
#define PAGES 48u

__attribute__((section(".loader"), noinline)) void tfin_map_flash(void);

#define INLINE static inline __attribute__((always_inline)) /* .text is not there yet */

INLINE void set(uint32_t address, uint32_t bits)
{
    TFIN_REG(address) |= bits;
}

INLINE void clear(uint32_t address, uint32_t bits)
{
    TFIN_REG(address) &= ~bits;
}

INLINE void wait_set(uint32_t address, uint32_t bits)
{
    while ((TFIN_REG(address) & bits) == 0) {
    }
}

#if defined(TFIN_CHIP_ESP32S3)

#define TABLE 0x600C5000u
#define DATA_CACHE 0x600C4000u
#define DATA_BUS 0x600C4004u
#define DATA_INVALIDATE 0x600C4028u
#define DATA_INVALIDATED (1u << 3)
#define CODE_CACHE 0x600C4060u
#define CODE_BUS 0x600C4064u
#define CODE_INVALIDATE 0x600C4088u
#define CODE_INVALIDATED (1u << 1)

void tfin_map_flash(void)
{
    clear(DATA_CACHE, 1u);
    clear(CODE_CACHE, 1u);
    for (uint32_t i = 0; i < PAGES; i++) { /* one table serves both windows */
        TFIN_REG(TABLE + 4u * i) = FIRST_PAGE + i;
    }
    set(DATA_INVALIDATE, 1u);
    wait_set(DATA_INVALIDATE, DATA_INVALIDATED);
    set(CODE_INVALIDATE, 1u);
    wait_set(CODE_INVALIDATE, CODE_INVALIDATED);
    clear(DATA_BUS, 1u); /* a set bit shuts the bus of core 0 */
    clear(CODE_BUS, 1u);
    set(DATA_CACHE, 1u);
    set(CODE_CACHE, 1u);
}

#elif defined(TFIN_CHIP_ESP32)

#define TABLE 0x3FF10000u
#define CODE_ENTRY 77u /* of the table: the window's first page */
#define CACHE 0x3FF00040u
#define CACHE_ON (1u << 3)
#define CACHE_FLUSH (1u << 4)
#define CACHE_FLUSHED (1u << 5)
#define BUSES 0x3FF00044u
#define BUS_CODE (1u << 0)
#define BUS_DATA (1u << 4)
#define CACHE_STATE 0x3FF003F0u
#define STATE_SHIFT 7u
#define STATE_MASK 0xFFFu
#define STATE_IDLE 1u

void tfin_map_flash(void)
{
    while ((TFIN_REG(CACHE) & CACHE_ON) != 0 &&
           ((TFIN_REG(CACHE_STATE) >> STATE_SHIFT) & STATE_MASK) != STATE_IDLE) {
    }
    clear(CACHE, CACHE_ON);
    for (uint32_t i = 0; i < PAGES; i++) {
        TFIN_REG(TABLE + 4u * i) = FIRST_PAGE + i;
        TFIN_REG(TABLE + 4u * (CODE_ENTRY + i)) = FIRST_PAGE + i;
    }
    clear(CACHE, CACHE_FLUSH);
    set(CACHE, CACHE_FLUSH);
    wait_set(CACHE, CACHE_FLUSHED);
    clear(CACHE, CACHE_FLUSH);
    clear(BUSES, BUS_CODE | BUS_DATA); /* a set bit shuts a bus */
    set(CACHE, CACHE_ON);
}

#else
#error "the board file lacks the chip: \"defines\": [\"TFIN_CHIP_ESP32\"], or ESP32S3"
#endif
