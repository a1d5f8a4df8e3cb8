/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Flash whose power is cut, of the simulators that walk at random. Part of one program, which first
 * defines CUT_FLASH_BYTES. A unit that a cut left uncertain reads as one of two things, anew at
 * every reading, until it is erased; or it cannot be read.
 */
#ifndef CUT_H
#define CUT_H

#include <setjmp.h>
#include <stdint.h>
#include <string.h>

#include "flash.h"

static uint64_t random_state;
static tfin_flash_map map;
static uint8_t flash[2][CUT_FLASH_BYTES]; /* both are the same but for uncertain units */
static uint8_t uncertain[CUT_FLASH_BYTES / 2];
static uint64_t operations, cuts;
static uint32_t cut_in; /* operations until a cut; 0: none */
static jmp_buf power;

/* What a cut leaves of the interrupted operation. */
enum { NOTHING, PART, NOISE, ALL, NOW_DONE, NOW_NOT, OUTCOMES };

static uint32_t random_number(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (uint32_t)(random_state >> 16);
}

static uint32_t choose(uint32_t of)
{
    return random_number() % of;
}

static void noise(uint8_t *to, uint32_t size)
{
    while (size-- != 0) {
        *to++ = (uint8_t)random_number();
    }
}

static int erased(const uint8_t *bytes, uint32_t size)
{
    while (size-- != 0) {
        if (bytes[size] != map.erased) {
            return 0;
        }
    }
    return 1;
}

__attribute__((noreturn)) static void cut(void)
{
    cuts++;
    longjmp(power, 1);
}

/* The units of an erasure. */
static void erase_units(uint32_t address, uint32_t size, int outcome)
{
    uint32_t part = outcome == PART ? choose(size) : size;
    for (uint32_t at = address; at < address + size; at += map.program_bytes) {
        uint8_t *now = flash[0] + at, *later = flash[1] + at;
        uint32_t unit = at / map.program_bytes;
        if (outcome == NOTHING || (outcome == PART && at >= address + part)) {
            continue;
        }
        uncertain[unit] = outcome >= NOW_DONE;
        if (outcome == NOISE) {
            noise(now, map.program_bytes);
            memcpy(later, now, map.program_bytes);
        } else if (outcome != NOW_NOT) {
            memset(now, map.erased, map.program_bytes);
            memset(later, map.erased, map.program_bytes);
        }
        if (outcome >= NOW_DONE) {
            noise(later, map.program_bytes);
        }
    }
}

const tfin_flash_map *tfin_port_flash_map(void)
{
    return &map;
}

const void *tfin_port_flash_at(uint32_t address)
{
    return flash[0] + address;
}

int tfin_port_flash_read(uint32_t address, void *out, uint32_t size)
{
    uint8_t *to = out;
    for (uint32_t at = address; at < address + size;) {
        uint32_t unit = at / map.program_bytes;
        uint32_t end = (unit + 1u) * map.program_bytes;
        if (uncertain[unit] == 1 && choose(4) == 0) {
            noise(out, size); /* an error that its code cannot correct */
            return 0;
        }
        end = end < address + size ? end : address + size;
        memcpy(to, flash[uncertain[unit] ? choose(2) : 0] + at, end - at);
        to += end - at;
        at = end;
    }
    return 1;
}

#endif
