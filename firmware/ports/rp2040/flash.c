/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Flash chip of an RP2040, by the functions of its ROM (RP2040 Datasheet, 2.8.3.1.3): sectors of
 * 4 kB, pages of 256 bytes. A page is programmed in eight parts of 32 bytes: ones change nothing,
 * and such a chip takes zeros in a page more than once. Meanwhile flash does not appear in memory,
 * so that part of this file runs from RAM, and interrupts wait. The ROM waits for the chip without
 * a bound, and does not say what became of an operation; what flash holds then does.
 */
#ifdef TFIN_PORT_FLASH
#include "flash_map.h"

#define XIP 0x10000000u
#define SECTOR 4096u
#define PAGE 256u
#define BLOCK 0x10000u
#define BLOCK_ERASE 0xD8
#define UNIT 32u
#define ERASE_MS 400u

#define ROM_MAGIC 0x10u
#define ROM_TABLE 0x14u
#define ROM_LOOKUP 0x18u
#define CODE(first, second) ((uint32_t)(first) | (uint32_t)(second) << 8)

#define SSI 0x18000000u
#define SSI_CTRLR0 (SSI + 0x00u)
#define SSI_CTRLR1 (SSI + 0x04u)
#define SSI_ENABLE (SSI + 0x08u)
#define SSI_BAUDR (SSI + 0x14u)
#define SSI_SPI_CTRLR0 (SSI + 0xF4u)

#if TFIN_FLASH_AT < XIP
#error "TFIN_FLASH_AT: from 0x10000000 on"
#endif

TFIN_FLASH_CHECK(SECTOR);
static const tfin_flash_map map = TFIN_FLASH_PAGES(SECTOR, SECTOR, UNIT, 0xFF, ERASE_MS);

typedef struct rom {
    void (*connect_internal_flash)(void);
    void (*flash_exit_xip)(void);
    void (*flash_range_erase)(uint32_t offset, uint32_t size, uint32_t block, uint8_t command);
    void (*flash_range_program)(uint32_t offset, const uint8_t *data, uint32_t size);
    void (*flash_flush_cache)(void);
    void (*flash_enter_cmd_xip)(void);
} rom;

/* hides from the compiler that the ROM is where null pointers point to */
static uintptr_t rom_at(uintptr_t address)
{
    __asm("" : "+r"(address));
    return address;
}

static uintptr_t find(uint32_t code)
{
    uintptr_t (*lookup)(uintptr_t table, uint32_t code) =
        (uintptr_t (*)(uintptr_t, uint32_t))(uintptr_t)TFIN_REG16(rom_at(ROM_LOOKUP));
    return lookup(TFIN_REG16(rom_at(ROM_TABLE)), code);
}

/* Programs a page, or erases a sector when there is none. Calls nothing but the ROM, and has no
 * tables: they would lie in flash. The interface is left as the second stage of boot had set it. */
__attribute__((section(".ram_code"), noinline, long_call)) static void
operate(const rom *r, uint32_t offset, const uint8_t *page)
{
    uint32_t masked;
    __asm volatile("mrs %0, primask\n cpsid i" : "=r"(masked)::"memory");
    uint32_t ctrlr0 = TFIN_REG(SSI_CTRLR0), ctrlr1 = TFIN_REG(SSI_CTRLR1);
    uint32_t baudr = TFIN_REG(SSI_BAUDR), spi_ctrlr0 = TFIN_REG(SSI_SPI_CTRLR0);
    r->connect_internal_flash();
    r->flash_exit_xip();
    if (page != NULL) {
        r->flash_range_program(offset, page, PAGE);
    } else {
        r->flash_range_erase(offset, SECTOR, BLOCK, BLOCK_ERASE); /* no whole block: by sectors */
    }
    r->flash_flush_cache();
    r->flash_enter_cmd_xip();
    TFIN_REG(SSI_ENABLE) = 0; /* off while it is set up */
    TFIN_REG(SSI_CTRLR0) = ctrlr0;
    TFIN_REG(SSI_CTRLR1) = ctrlr1;
    TFIN_REG(SSI_BAUDR) = baudr;
    TFIN_REG(SSI_SPI_CTRLR0) = spi_ctrlr0;
    TFIN_REG(SSI_ENABLE) = 1;
    __asm volatile("msr primask, %0" ::"r"(masked) : "memory");
}

/* The ROM's functions are looked up while flash is there. */
static void run(uint32_t address, const uint8_t *page)
{
    rom r;
    r.connect_internal_flash = (void (*)(void))find(CODE('I', 'F'));
    r.flash_exit_xip = (void (*)(void))find(CODE('E', 'X'));
    r.flash_range_erase = (void (*)(uint32_t, uint32_t, uint32_t, uint8_t))find(CODE('R', 'E'));
    r.flash_range_program = (void (*)(uint32_t, const uint8_t *, uint32_t))find(CODE('R', 'P'));
    r.flash_flush_cache = (void (*)(void))find(CODE('F', 'C'));
    r.flash_enter_cmd_xip = (void (*)(void))find(CODE('C', 'X'));
    operate(&r, address - XIP, page);
}

/* The ROM of an RP2040 begins with "Mu" and 1. */
const tfin_flash_map *tfin_port_flash_map(void)
{
    return (TFIN_REG(rom_at(ROM_MAGIC)) & 0xFFFFFFu) == 0x01754Du ? &map : NULL;
}

int tfin_port_flash_program(uint32_t address, const void *data)
{
    static uint8_t page[PAGE];
    if (!flash_holds(&map, address, UNIT)) {
        return 0;
    }
    memset(page, 0xFF, sizeof page);
    memcpy(page + address % PAGE, data, UNIT);
    run(address - address % PAGE, page);
    return memcmp(tfin_port_flash_at(address), page + address % PAGE, UNIT) == 0;
}

int tfin_port_flash_erase(uint32_t address)
{
    if (!flash_holds(&map, address, SECTOR)) {
        return 0;
    }
    run(address, NULL);
    for (uint32_t i = 0; i < SECTOR; i += 4u) {
        if (TFIN_REG(address + i) != 0xFFFFFFFFu) {
            return 0;
        }
    }
    return 1;
}
#endif
