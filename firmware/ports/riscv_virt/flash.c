/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The second flash of the machine: two chips of 16 bits side by side, with Intel's commands (JEDEC
 * JESD68.01, CFI, command set 1). The emulator keeps its content in a file, or in memory, and does
 * not refuse to turn a 0 into a 1, as a chip would: so this does.
 */
#ifdef TFIN_PORT_FLASH
#include "flash_map.h"

#define BOTH(x) ((x) << 16 | (x))

enum { SECTOR = 256 * 1024, WORD = 4, ERASE_MS = 1000, TURNS = 1000000 };

static const uint32_t QUERY = BOTH(0x98u);
static const uint32_t READ_ARRAY = BOTH(0xFFu);
static const uint32_t CLEAR_STATUS = BOTH(0x50u);
static const uint32_t PROGRAM = BOTH(0x40u);
static const uint32_t ERASE = BOTH(0x20u);
static const uint32_t CONFIRM = BOTH(0xD0u);
static const uint32_t READY = BOTH(0x80u);
static const uint32_t FAILED = BOTH(0x3Au);

TFIN_FLASH_CHECK(SECTOR);
static const tfin_flash_map map = TFIN_FLASH_PAGES(SECTOR, SECTOR, WORD, 0xFF, ERASE_MS);

/* Whether something there answers as such a chip does: other emulators have none. */
static int is_there(void)
{
    enum { ASK_AT = 0x55 * WORD, ANSWER_AT = 0x10 * WORD };
    TFIN_REG(TFIN_FLASH_AT + ASK_AT) = QUERY;
    uint32_t first = TFIN_REG(TFIN_FLASH_AT + ANSWER_AT);
    TFIN_REG(TFIN_FLASH_AT) = READ_ARRAY;
    return first == BOTH((uint32_t)'Q');
}

const tfin_flash_map *tfin_port_flash_map(void)
{
    static uint8_t asked, there;
    if (!asked) {
        there = is_there() != 0;
        asked = 1;
    }
    return there ? &map : 0;
}

/* `second` follows `command`; then the chips give their status until they are told to be read. */
static int run(uint32_t address, uint32_t command, uint32_t second)
{
    uint32_t status = 0;
    TFIN_REG(address) = CLEAR_STATUS;
    TFIN_REG(address) = command;
    TFIN_REG(address) = second;
    for (uint32_t turns = 0; turns < TURNS && (status & READY) != READY; turns++) {
        status = TFIN_REG(address);
    }
    TFIN_REG(address) = READ_ARRAY;
    return (status & READY) == READY && (status & FAILED) == 0;
}

int tfin_port_flash_program(uint32_t address, const void *data)
{
    uint32_t word;
    if (!flash_holds(&map, address, WORD) || TFIN_REG(address) != 0xFFFFFFFFu) {
        return 0;
    }
    memcpy(&word, data, sizeof word);
    return run(address, PROGRAM, word) && TFIN_REG(address) == word;
}

int tfin_port_flash_erase(uint32_t address)
{
    return flash_holds(&map, address, SECTOR) && run(address, ERASE, CONFIRM);
}
#endif
