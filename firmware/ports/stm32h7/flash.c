/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Flash of the STM32H742, H743 and H753 (RM0433, chapter 4): words of 32 bytes with a code of 10
 * bits, sectors of 128 kB. Slots and journal lie in bank 2, at 0x08100000 in all of these chips, so
 * the core runs on from bank 1 while flash is written. An H750 has no bank 2. The data cache of the
 * core is off, so what is read is what flash holds.
 * What a cut left may be unreadable: two bits of a word are wrong. Reading it is a bus fault. Here
 * the fault is ignored, as the core allows while FAULTMASK is set, and the controller's flag says
 * what happened. A pack is read where it lies; before that, its slot is looked at, and in place of
 * one that is not readable the image is shown, which opens as no pack.
 */
#ifdef TFIN_PORT_FLASH
#define FLASH_KEYR 0x52002104u
#define FLASH_CR 0x5200210Cu
#define FLASH_SR 0x52002110u
#define FLASH_CLEAR 0x52002114u
#define CR_LOCK (1u << 0)
#define CR_PG (1u << 1)
#define CR_SER (1u << 2)
#define CR_PSIZE_X64 (3u << 4)
#define CR_STRT (1u << 7)
#define CR_SECTOR(number) ((number) << 8)
#define SR_BUSY (1u << 0 | 1u << 2) /* BSY, and QW: it waits to begin */
#define SR_DONE (1u << 16)
/* WRPERR, PGSERR, STRBERR, INCERR, OPERR, RDPERR, RDSERR */
#define SR_ERRORS (7u << 17 | 0xFu << 21)
#define SR_DBECCERR (1u << 26)
#define FLASH_ERASE_MS 2200u /* the data sheet's for x32; x64 takes less */
#define FLASH_HAS_CODE

#include "stm32_flash.h"

#define FLASH 0x08000000u
#define BANK_2 0x08100000u
#define SECTOR 0x20000u
#define WORD 32u
#define SCB_CCR 0xE000ED14u
#define CCR_BFHFNMIGN (1u << 8)

#if TFIN_FLASH_AT < BANK_2 || TFIN_FLASH_END(SECTOR) > BANK_2 + 8u * SECTOR
#error \
    "TFIN_FLASH_AT, TFIN_FLASH_SLOT: sectors of 128 kB of bank 2, from 0x08100000 on, two more \
behind the slots for the journal"
#endif

TFIN_FLASH_CHECK(SECTOR);
static const tfin_flash_map map = TFIN_FLASH_PAGES(SECTOR, SECTOR, WORD, 0xFF, FLASH_ERASE_MS);

const tfin_flash_map *tfin_port_flash_map(void)
{
    return stm32_flash_is_here() ? &map : NULL;
}

/* One byte of every `step`, to `out` unless that is null. Interrupts wait: at most 32 loads. */
static int copy(uint32_t address, uint8_t *out, uint32_t size, uint32_t step)
{
    __asm volatile("cpsid f\n isb" ::: "memory");
    TFIN_REG(SCB_CCR) |= CCR_BFHFNMIGN;
    TFIN_REG(FLASH_CLEAR) = SR_DBECCERR;
    __asm volatile("dsb\n isb" ::: "memory");
    for (uint32_t i = 0; i < size; i += step) {
        uint8_t byte = TFIN_REG8(address + i);
        if (out != NULL) {
            out[i] = byte;
        }
    }
    __asm volatile("dsb" ::: "memory");
    uint32_t status = TFIN_REG(FLASH_SR);
    TFIN_REG(FLASH_CLEAR) = SR_DBECCERR;
    TFIN_REG(SCB_CCR) &= ~CCR_BFHFNMIGN;
    __asm volatile("dsb\n isb\n cpsie f" ::: "memory");
    return (status & SR_DBECCERR) == 0;
}

static int is_readable(const tfin_flash_area *area)
{
    for (uint32_t at = 0; at < area->size; at += 32u * WORD) {
        if (!copy(area->address + at, NULL, 32u * WORD, WORD)) {
            return 0;
        }
    }
    return 1;
}

const void *tfin_port_flash_at(uint32_t address)
{
    for (uint32_t i = 0; i < 2; i++) {
        if (address == map.slot[i].address && !is_readable(&map.slot[i])) {
            return (const void *)TFIN_REGISTER(FLASH);
        }
    }
    return (const void *)TFIN_REGISTER(address);
}

int tfin_port_flash_read(uint32_t address, void *out, uint32_t size)
{
    uint8_t *to = out;
    for (; size > WORD; size -= WORD, address += WORD, to += WORD) {
        if (!copy(address, to, WORD, 1)) {
            return 0;
        }
    }
    return copy(address, to, size, 1);
}

int tfin_port_flash_program(uint32_t address, const void *data)
{
    uint32_t words[WORD / 4u];
    memcpy(words, data, sizeof words);
    if (!flash_holds(&map, address, WORD) || !stm32_flash_begin(CR_PG | CR_PSIZE_X64)) {
        return 0;
    }
    __asm volatile("dsb\n isb" ::: "memory"); /* as ST does before a word, and after it */
    for (uint32_t i = 0; i < WORD / 4u; i++) {
        TFIN_REG(address + 4u * i) = words[i];
    }
    return stm32_flash_finish();
}

int tfin_port_flash_erase(uint32_t address)
{
    if (!flash_holds(&map, address, SECTOR)) {
        return 0;
    }
    return stm32_flash_erase(CR_SER | CR_PSIZE_X64 | CR_SECTOR((address - BANK_2) / SECTOR));
}
#endif
