/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Flash of the STM32F1: half-words, pages of TFIN_FLASH_PAGE bytes (1024, of high-density chips
 * 2048). The controller needs the internal oscillator, which runs since reset. Registers: RM0041
 * and PM0063. QEMU has no controller: its lock bit reads 0, and packs stay in the image.
 */
#ifdef TFIN_PORT_FLASH
#define FLASH_KEYR 0x40022004u
#define FLASH_SR 0x4002200Cu
#define FLASH_CLEAR FLASH_SR
#define FLASH_CR 0x40022010u
#define FLASH_AR 0x40022014u
#define CR_PG (1u << 0)
#define CR_PER (1u << 1)
#define CR_STRT (1u << 6)
#define CR_LOCK (1u << 7)
#define SR_BUSY (1u << 0)
#define SR_DONE (1u << 5)
#define SR_ERRORS (1u << 2 | 1u << 4) /* programmed before, write-protected */
#define FLASH_ERASE_MS 40u

#include "stm32_flash.h"

#ifndef TFIN_FLASH_PAGE
#define TFIN_FLASH_PAGE 1024u
#endif

TFIN_FLASH_CHECK(TFIN_FLASH_PAGE);
static const tfin_flash_map map = TFIN_FLASH_PAGES(TFIN_FLASH_PAGE, 2048u, 2, 0xFF, FLASH_ERASE_MS);

const tfin_flash_map *tfin_port_flash_map(void)
{
    return stm32_flash_is_here() ? &map : NULL;
}

int tfin_port_flash_program(uint32_t address, const void *data)
{
    uint16_t half;
    memcpy(&half, data, sizeof half);
    if (!flash_holds(&map, address, sizeof half) || !stm32_flash_begin(CR_PG)) {
        return 0;
    }
    TFIN_REG16(address) = half;
    return stm32_flash_finish();
}

int tfin_port_flash_erase(uint32_t address)
{
    if (!flash_holds(&map, address, TFIN_FLASH_PAGE) || !stm32_flash_begin(CR_PER)) {
        return 0;
    }
    TFIN_REG(FLASH_AR) = address;
    TFIN_REG(FLASH_CR) = CR_PER | CR_STRT;
    return stm32_flash_finish();
}
#endif
