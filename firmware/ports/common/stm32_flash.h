/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the flash controllers of the STM32 have in common: a lock that two keys open, and a status
 * that says what is busy and what went wrong. Part of one flash.c, which first defines the
 * registers FLASH_KEYR, FLASH_SR, FLASH_CR and FLASH_CLEAR (where a one clears a flag), of their
 * bits CR_LOCK, CR_STRT, SR_BUSY, SR_DONE and SR_ERRORS, and FLASH_ERASE_MS; FLASH_ACR where the
 * flash has a data cache.
 */
#ifndef TFIN_STM32_FLASH_H
#define TFIN_STM32_FLASH_H

#include "flash_map.h"

/* a look at the status takes four clocks or more, so this is twice the longest operation */
#ifndef FLASH_WAIT_TURNS
#define FLASH_WAIT_TURNS ((uint32_t)F_CPU / 1000u * FLASH_ERASE_MS / 2u)
#endif

/* An emulator without the controller reads 0. */
static inline int stm32_flash_is_here(void)
{
    return (TFIN_REG(FLASH_CR) & CR_LOCK) != 0;
}

static int stm32_flash_rests(void)
{
    for (uint32_t turns = 0; turns < FLASH_WAIT_TURNS; turns++) {
        if ((TFIN_REG(FLASH_SR) & SR_BUSY) == 0) {
            return 1;
        }
    }
    return 0;
}

/* Opens the lock for one operation. A controller that does not open, or is still busy, gets none.
 * A flag that an earlier operation left would be taken for one of this. */
static int stm32_flash_begin(uint32_t mode)
{
    if (!stm32_flash_rests()) {
        return 0;
    }
    TFIN_REG(FLASH_CLEAR) = SR_ERRORS | SR_DONE;
    if ((TFIN_REG(FLASH_CR) & CR_LOCK) != 0) {
        TFIN_REG(FLASH_KEYR) = 0x45670123u;
        TFIN_REG(FLASH_KEYR) = 0xCDEF89ABu;
    }
    TFIN_REG(FLASH_CR) = mode;
    return (TFIN_REG(FLASH_CR) & CR_LOCK) == 0;
}

/* Waits for the operation, and locks. A controller that is still busy is left alone: a write to it
 * would wait for as long. */
static int stm32_flash_finish(void)
{
    __asm volatile("dsb" ::: "memory"); /* it has begun before the status is looked at */
    if (!stm32_flash_rests()) {
        return 0;
    }
    uint32_t status = TFIN_REG(FLASH_SR);
    TFIN_REG(FLASH_CLEAR) = SR_ERRORS | SR_DONE;
    TFIN_REG(FLASH_CR) = CR_LOCK;
    return (status & SR_ERRORS) == 0;
}

#ifdef FLASH_ACR
#define ACR_DCEN (1u << 10)
#define ACR_DCRST (1u << 12)

/* Returns what stm32_flash_cache_on wants. */
static inline uint32_t stm32_flash_cache_off(void)
{
    uint32_t acr = TFIN_REG(FLASH_ACR);
    TFIN_REG(FLASH_ACR) = acr & ~ACR_DCEN;
    return acr;
}

/* On and empty: it does not see what is erased, and can only be emptied while it is off. */
static inline void stm32_flash_cache_on(uint32_t acr)
{
    TFIN_REG(FLASH_ACR) = (acr & ~ACR_DCEN) | ACR_DCRST;
    TFIN_REG(FLASH_ACR) = acr & ~ACR_DCEN;
    TFIN_REG(FLASH_ACR) = acr;
}
#endif

/* Erases what a value of FLASH_CR without CR_STRT says. */
static inline int stm32_flash_erase(uint32_t mode)
{
    if (!stm32_flash_begin(mode)) {
        return 0;
    }
#ifdef FLASH_ACR
    uint32_t acr = stm32_flash_cache_off();
#endif
    TFIN_REG(FLASH_CR) = mode | CR_STRT;
    int done = stm32_flash_finish();
#ifdef FLASH_ACR
    stm32_flash_cache_on(acr);
#endif
    return done;
}

#endif
