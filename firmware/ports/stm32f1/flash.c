/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Flash of the STM32F1: half-words, pages of TFIN_FLASH_PAGE bytes (1024, of high-density chips
 * 2048). The controller needs the internal oscillator, which runs since reset. Registers: RM0041
 * and PM0063. QEMU has no controller: its lock bit reads 0, and packs stay in the image.
 */
#ifdef TFIN_PORT_FLASH
#include "flash_map.h"

#define FLASH_KEYR 0x40022004u
#define FLASH_SR 0x4002200Cu
#define FLASH_CR 0x40022010u
#define FLASH_AR 0x40022014u
#define KEY1 0x45670123u
#define KEY2 0xCDEF89ABu
#define CR_PG (1u << 0)
#define CR_PER (1u << 1)
#define CR_STRT (1u << 6)
#define CR_LOCK (1u << 7)
#define SR_BSY (1u << 0)
#define SR_PGERR (1u << 2)
#define SR_WRPRTERR (1u << 4)
#define SR_EOP (1u << 5)
#define WAIT_TURNS 4000000u

#ifndef TFIN_FLASH_PAGE
#define TFIN_FLASH_PAGE 1024u
#endif

static const tfin_flash_map map = TFIN_FLASH_PAGES(TFIN_FLASH_PAGE, 2048u, 2, 0xFF, 40);

const tfin_flash_map *tfin_port_flash_map(void)
{
    return (TFIN_REG(FLASH_CR) & CR_LOCK) != 0 ? &map : NULL;
}

/* Waits for the operation, and locks the controller again. */
static int finish(void)
{
    uint32_t turns = 0;
    while ((TFIN_REG(FLASH_SR) & SR_BSY) != 0 && turns < WAIT_TURNS) {
        turns++;
    }
    uint32_t status = TFIN_REG(FLASH_SR);
    TFIN_REG(FLASH_SR) = SR_EOP | SR_PGERR | SR_WRPRTERR; /* cleared by ones */
    TFIN_REG(FLASH_CR) = CR_LOCK;
    return turns < WAIT_TURNS && (status & (SR_PGERR | SR_WRPRTERR)) == 0;
}

static void unlock(uint32_t mode)
{
    TFIN_REG(FLASH_KEYR) = KEY1;
    TFIN_REG(FLASH_KEYR) = KEY2;
    TFIN_REG(FLASH_CR) = mode;
}

int tfin_port_flash_program(uint32_t address, const void *data)
{
    uint16_t half;
    memcpy(&half, data, sizeof half);
    if (!flash_holds(&map, address, sizeof half)) {
        return 0;
    }
    unlock(CR_PG);
    TFIN_REG16(address) = half;
    return finish();
}

int tfin_port_flash_erase(uint32_t address)
{
    if (!flash_holds(&map, address, TFIN_FLASH_PAGE)) {
        return 0;
    }
    unlock(CR_PER);
    TFIN_REG(FLASH_AR) = address;
    TFIN_REG(FLASH_CR) = CR_PER | CR_STRT;
    return finish();
}
#endif
