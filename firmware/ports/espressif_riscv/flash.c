/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Flash of an ESP32-C3, C6 or H2, by the functions of its ROM, whose addresses Espressif publishes
 * (esp32c3.rom.ld, esp32c6.rom.ld, esp32h2.rom.ld): sectors of 4 kB, parts of a page of 32 bytes.
 * The ROM has mapped the flash from its start on, without gaps, so a slot appears in the window for
 * data at the distance that it has in flash. While flash is written, the cache is suspended and
 * flash cannot be read: that part of this file runs from RAM, which a C3 executes at another
 * address than where its data lies, and interrupts wait. The ROM waits for the flash chip without a
 * bound; what it answers, and what flash holds then, says what became of an operation.
 */
#ifdef TFIN_PORT_FLASH
#include "flash_map.h"

#define SECTOR 4096u
#define UNIT 32u
#define ERASE_MS 400u
#define MSTATUS_MIE 8u

#if defined(TFIN_CHIP_ESP32C3)
#define WINDOW 0x3C000000u
#define RAM_TO_CODE 0x700000u /* internal RAM: from where data lies to where code runs */
#define ROM_ERASE_SECTOR 0x40000128u
#define ROM_WRITE 0x4000012Cu
#define ROM_UNLOCK 0x40000140u
#define ROM_CACHE_INVALIDATE 0x400004D4u
#define ROM_CACHE_SUSPEND 0x40000524u
#define ROM_CACHE_RESUME 0x40000528u
#elif defined(TFIN_CHIP_ESP32C6)
#define WINDOW 0x42000000u
#define RAM_TO_CODE 0u
#define ROM_ERASE_SECTOR 0x40000144u
#define ROM_WRITE 0x4000014Cu
#define ROM_UNLOCK 0x40000154u
#define ROM_CACHE_INVALIDATE 0x40000648u
#define ROM_CACHE_SUSPEND 0x40000698u
#define ROM_CACHE_RESUME 0x4000069Cu
#elif defined(TFIN_CHIP_ESP32H2)
#define WINDOW 0x42000000u
#define RAM_TO_CODE 0u
#define ROM_ERASE_SECTOR 0x4000013Cu
#define ROM_WRITE 0x40000144u
#define ROM_UNLOCK 0x4000014Cu
#define ROM_CACHE_INVALIDATE 0x4000061Cu
#define ROM_CACHE_SUSPEND 0x4000066Cu
#define ROM_CACHE_RESUME 0x40000670u
#endif

#if TFIN_FLASH_AT < WINDOW
#error "TFIN_FLASH_AT: in the window for data, from 0x3C000000 on, of a C6 or H2 0x42000000"
#endif

TFIN_FLASH_CHECK(SECTOR);
static const tfin_flash_map map = TFIN_FLASH_PAGES(SECTOR, SECTOR, UNIT, 0xFF, ERASE_MS);

static uint8_t unlocked; /* once: what the ROM writes for it outlasts a reset */

const tfin_flash_map *tfin_port_flash_map(void)
{
    return &map;
}

/* Programs a unit, or erases a sector when there is none. Calls nothing but the ROM. */
__attribute__((section(".ram_code"), noinline)) static int operate(uint32_t address,
                                                                   const uint32_t *unit)
{
    uint32_t (*suspend)(void) = (uint32_t (*)(void))ROM_CACHE_SUSPEND;
    void (*resume)(uint32_t autoload) = (void (*)(uint32_t))ROM_CACHE_RESUME;
    int (*unlock)(void) = (int (*)(void))ROM_UNLOCK;
    int (*erase)(uint32_t sector) = (int (*)(uint32_t))ROM_ERASE_SECTOR;
    int (*write)(uint32_t offset, const uint32_t *data, int32_t size) =
        (int (*)(uint32_t, const uint32_t *, int32_t))ROM_WRITE;
    void (*invalidate)(uint32_t at, uint32_t size) =
        (void (*)(uint32_t, uint32_t))ROM_CACHE_INVALIDATE;
    uint32_t before, offset = address - WINDOW;
    __asm volatile("csrrc %0, mstatus, %1" : "=r"(before) : "r"(MSTATUS_MIE) : "memory");
    uint32_t autoload = suspend();
    int rc = unlocked ? 0 : unlock();
    if (rc == 0) {
        unlocked = 1;
        rc = unit != NULL ? write(offset, unit, UNIT) : erase(offset / SECTOR);
    }
    invalidate(address, unit != NULL ? UNIT : SECTOR);
    resume(autoload);
    __asm volatile("csrs mstatus, %0" ::"r"(before & MSTATUS_MIE) : "memory");
    return rc;
}

static int run(uint32_t address, const uint32_t *unit)
{
    int (*in_ram)(uint32_t, const uint32_t *) =
        (int (*)(uint32_t, const uint32_t *))((uintptr_t)operate + RAM_TO_CODE);
    return in_ram(address, unit) == 0;
}

int tfin_port_flash_program(uint32_t address, const void *data)
{
    uint32_t unit[UNIT / 4u];
    memcpy(unit, data, sizeof unit);
    return flash_holds(&map, address, UNIT) && run(address, unit) &&
           memcmp(tfin_port_flash_at(address), unit, UNIT) == 0;
}

int tfin_port_flash_erase(uint32_t address)
{
    if (!flash_holds(&map, address, SECTOR) || !run(address, NULL)) {
        return 0;
    }
    for (uint32_t i = 0; i < SECTOR; i += 4u) {
        if (TFIN_REG(address + i) != 0xFFFFFFFFu) {
            return 0;
        }
    }
    return 1;
}
#endif
