/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Flash of the nRF51 and the nRF52, which have the same controller: words, pages of NRF5_PAGE
 * bytes. The core stands still while flash is written. Registers: nRF51 Series Reference
 * Manual 3.0, chapter 6; nRF52840 Product Specification, NVMC. QEMU's microbit models it.
 */
#include "flash_map.h"

#define NVMC_READY 0x4001E400u
#define NVMC_CONFIG 0x4001E504u
#define NVMC_ERASE_PAGE 0x4001E508u
#define READS 0u
#define WRITES 1u
#define ERASES 2u
#define WAIT_TURNS 4000000u

TFIN_FLASH_CHECK(NRF5_PAGE);
static const tfin_flash_map map = TFIN_FLASH_PAGES(NRF5_PAGE, NRF5_JOURNAL, 4, 0xFF, NRF5_ERASE_MS);

const tfin_flash_map *tfin_port_flash_map(void)
{
    return &map;
}

static int ready(void)
{
    uint32_t turns = 0;
    while ((TFIN_REG(NVMC_READY) & 1u) == 0 && turns < WAIT_TURNS) {
        turns++;
    }
    return turns < WAIT_TURNS;
}

int tfin_port_flash_program(uint32_t address, const void *data)
{
    uint32_t word;
    memcpy(&word, data, sizeof word);
    if (!flash_holds(&map, address, sizeof word) || !ready()) {
        return 0;
    }
    TFIN_REG(NVMC_CONFIG) = WRITES;
    TFIN_REG(address) = word;
    int done = ready();
    TFIN_REG(NVMC_CONFIG) = READS;
    return done;
}

int tfin_port_flash_erase(uint32_t address)
{
    if (!flash_holds(&map, address, NRF5_PAGE) || !ready()) {
        return 0;
    }
    TFIN_REG(NVMC_CONFIG) = ERASES;
    TFIN_REG(NVMC_ERASE_PAGE) = address;
    int done = ready();
    TFIN_REG(NVMC_CONFIG) = READS;
    return done;
}
