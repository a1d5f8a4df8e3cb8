/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Flash of the STM32L4 (RM0351, chapter 3): double words with a code of 8 bits, pages of 2 kB. It
 * has two banks of TFIN_FLASH_BANK bytes (512 kB, in chips of 1 MB); a chip with one bank is all in
 * the first. With slots and journal in the second bank, the core runs on from the first while flash
 * is written.
 * What a cut left may be unreadable: two bits of a double word are wrong. Reading it raises an NMI,
 * which is handled here: tfin_port_flash_read says so, and a pack that is read where it lies does
 * not verify. Any other NMI is a fault, unreadable flash of the image among them.
 */
#ifdef TFIN_PORT_FLASH
#define FLASH_ACR 0x40022000u
#define FLASH_KEYR 0x40022008u
#define FLASH_SR 0x40022010u
#define FLASH_CLEAR FLASH_SR
#define FLASH_CR 0x40022014u
#define FLASH_ECCR 0x40022018u
#define CR_PG (1u << 0)
#define CR_PER (1u << 1)
#define CR_PAGE(number) ((number) << 3)
#define CR_BANK(number) ((number) << 11)
#define CR_STRT (1u << 16)
#define CR_LOCK (1u << 31)
#define SR_DONE (1u << 0)
/* OPERR, PROGERR, WRPERR, PGAERR, SIZERR, PGSERR, MISERR, FASTERR, RDERR */
#define SR_ERRORS (1u << 1 | 0x3F8u | 1u << 14)
#define SR_BUSY (1u << 16)
#define ECCR_ADDRESS 0x7FFFFu
#define ECCR_BANK (1u << 19)
#define ECCR_SYSTEM (1u << 20)
#define ECCR_ECCD (1u << 31)
#define FLASH_ERASE_MS 25u
#define FLASH_HAS_CODE

#include "cortex_m.h"
#include "stm32_flash.h"

#ifndef TFIN_FLASH_BANK
#define TFIN_FLASH_BANK 524288u
#endif
#define FLASH 0x08000000u
#define PAGE 2048u
#define WORD 8u

#if TFIN_FLASH_AT < FLASH
#error "TFIN_FLASH_AT: from 0x08000000 on"
#endif

TFIN_FLASH_CHECK(PAGE);
static const tfin_flash_map map = TFIN_FLASH_PAGES(PAGE, 2u * PAGE, WORD, 0xFF, FLASH_ERASE_MS);

static volatile uint8_t unreadable; /* something of the map was, since this was cleared */

const tfin_flash_map *tfin_port_flash_map(void)
{
    return stm32_flash_is_here() ? &map : NULL;
}

const void *tfin_port_flash_at(uint32_t address)
{
    return (const void *)TFIN_REGISTER(address);
}

void tfin_cortex_m_nmi(void)
{
    uint32_t eccr = TFIN_REG(FLASH_ECCR);
    uint32_t bank = (eccr & ECCR_BANK) != 0 ? TFIN_FLASH_BANK : 0;
    uint32_t address = (FLASH + bank + (eccr & ECCR_ADDRESS)) & ~(WORD - 1u);
    if ((eccr & ECCR_ECCD) == 0 || (eccr & ECCR_SYSTEM) != 0 || !flash_holds(&map, address, WORD)) {
        tfin_cortex_m_fault();
    }
    unreadable = 1;
    TFIN_REG(FLASH_ECCR) = ECCR_ECCD; /* cleared by a one */
}

int tfin_port_flash_read(uint32_t address, void *out, uint32_t size)
{
    unreadable = 0;
    memcpy(out, tfin_port_flash_at(address), size);
    __asm volatile("dsb\n isb" ::: "memory"); /* the NMI of the last load has come by then */
    return !unreadable;
}

/* The data cache is off meanwhile: it may take wrong data when flash is read while it is written
 * (errata sheet ES0250). */
int tfin_port_flash_program(uint32_t address, const void *data)
{
    uint32_t words[2];
    memcpy(words, data, sizeof words);
    if (!flash_holds(&map, address, WORD) || !stm32_flash_begin(CR_PG)) {
        return 0;
    }
    uint32_t acr = stm32_flash_cache_off();
    TFIN_REG(address) = words[0];
    TFIN_REG(address + 4u) = words[1];
    int done = stm32_flash_finish();
    stm32_flash_cache_on(acr);
    return done;
}

int tfin_port_flash_erase(uint32_t address)
{
    if (!flash_holds(&map, address, PAGE)) {
        return 0;
    }
    uint32_t offset = address - FLASH;
    uint32_t page = offset % TFIN_FLASH_BANK / PAGE, bank = offset / TFIN_FLASH_BANK;
    return stm32_flash_erase(CR_PER | CR_PAGE(page) | CR_BANK(bank));
}
#endif
