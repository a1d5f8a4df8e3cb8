/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Flash of the STM32F4 (RM0090, chapter 3), by words: parallelism x32, for a supply of 2.7 V to
 * 3.6 V. Its sectors are 4 of 16 kB, one of 64 kB, and of 128 kB all others. The chip starts from
 * the first one, and the image fills the small ones and goes on without a gap. So slots and journal
 * are all in sectors of 128 kB, from 0x08020000 on: four of them, and 1 MB of flash. A journal
 * sector then has 4,096 places, so it is erased eight times less often than one of 16 kB, and takes
 * up to 2 s. While the flash is busy, the core stands still when it reads from it; nothing has to
 * be in RAM. QEMU has no controller: its lock bit reads 0, and packs stay in the image.
 */
#ifdef TFIN_PORT_FLASH
#define FLASH_ACR 0x40023C00u
#define FLASH_KEYR 0x40023C04u
#define FLASH_SR 0x40023C0Cu
#define FLASH_CLEAR FLASH_SR
#define FLASH_CR 0x40023C10u
#define CR_PG (1u << 0)
#define CR_SER (1u << 1)
#define CR_SECTOR(number) ((number) << 3)
#define CR_PSIZE_X32 (2u << 8)
#define CR_STRT (1u << 16)
#define CR_LOCK (1u << 31)
#define SR_DONE (1u << 0)
/* OPERR, WRPERR, PGAERR, PGPERR, PGSERR */
#define SR_ERRORS (1u << 1 | 1u << 4 | 1u << 5 | 1u << 6 | 1u << 7)
#define SR_BUSY (1u << 16)
#define FLASH_ERASE_MS 2000u

#include "stm32_flash.h"

#define SECTOR 0x20000u
#define FIRST_LARGE 0x08020000u
#define FIRST_LARGE_NUMBER 5u

#if TFIN_FLASH_AT < FIRST_LARGE || TFIN_FLASH_END(SECTOR) > 0x08100000u
#error \
    "TFIN_FLASH_AT, TFIN_FLASH_SLOT: sectors of 128 kB from 0x08020000 to 0x08100000, two more \
behind the slots for the journal"
#endif

TFIN_FLASH_CHECK(SECTOR);
static const tfin_flash_map map = TFIN_FLASH_PAGES(SECTOR, SECTOR, 4, 0xFF, FLASH_ERASE_MS);

const tfin_flash_map *tfin_port_flash_map(void)
{
    return stm32_flash_is_here() ? &map : NULL;
}

int tfin_port_flash_program(uint32_t address, const void *data)
{
    uint32_t word;
    memcpy(&word, data, sizeof word);
    if (!flash_holds(&map, address, sizeof word) || !stm32_flash_begin(CR_PG | CR_PSIZE_X32)) {
        return 0;
    }
    TFIN_REG(address) = word;
    return stm32_flash_finish();
}

int tfin_port_flash_erase(uint32_t address)
{
    if (!flash_holds(&map, address, SECTOR)) {
        return 0;
    }
    uint32_t sector = FIRST_LARGE_NUMBER + (address - FIRST_LARGE) / SECTOR;
    return stm32_flash_erase(CR_SER | CR_SECTOR(sector) | CR_PSIZE_X32);
}
#endif
