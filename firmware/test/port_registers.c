/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A port's receive interrupt and its sending, on the workstation: the registers near REGISTERS are
 * memory, so each holds what it was set to. -DPORT="port.c" -DREGISTERS=..., see
 * tests/wire/test_port_registers.py, which calls poke and the rest.
 */
#include <stddef.h>
#include <stdint.h>

void poke(uint32_t address, uint32_t value);
uint32_t peek(uint32_t address);
uint32_t accesses(void);
void set_line(int works);
void gone_out(uint32_t event);

static uintptr_t memory_at(uint32_t address);
#define TFIN_REGISTER(address) memory_at(address)

#include PORT

#define WINDOW_BYTES 0x2000u
#ifndef SWITCH_BITS
#define SWITCH_BITS 2
#endif

static const uint32_t starts[] = {REGISTERS};
static uint32_t accessed; /* how often a register was read or written */

static uintptr_t memory_at(uint32_t address)
{
    static uint32_t windows[sizeof starts / sizeof starts[0]][WINDOW_BYTES / 4u];
    for (size_t i = 0; i < sizeof starts / sizeof starts[0]; i++) {
        if (address - starts[i] < WINDOW_BYTES) {
            uint32_t *word = &windows[i][(address - starts[i]) / 4u];
            accessed++;
/* a clock controller's register whose next bits (2 and 3, if SWITCH_BITS is 2) say that what
 * its lowest bits ask for is done */
#ifdef SWITCH
            if (address == SWITCH) {
                *word |= (*word & ((1u << SWITCH_BITS) - 1u)) << SWITCH_BITS;
            }
#endif
            return (uintptr_t)word + address % 4u;
        }
    }
    __builtin_trap(); /* a register that the test does not know of */
}

void poke(uint32_t address, uint32_t value)
{
    TFIN_REG(address) = value;
}

uint32_t peek(uint32_t address)
{
    return TFIN_REG(address);
}

uint32_t accesses(void)
{
    return accessed;
}

/* A UART that reports by an event that a byte has gone out: the port's source calls this with the
 * event's address where it gives it a byte. */
static int line_works;

void set_line(int works)
{
    line_works = works;
}

void gone_out(uint32_t event)
{
    if (line_works) {
        poke(event, 1);
    }
}

/* what common/cortex_m.c has */
void tfin_cortex_m_enable(uint32_t interrupt);
uint32_t tfin_cortex_m_systick(void);
void tfin_cortex_m_systick_start(void);

void tfin_cortex_m_enable(uint32_t interrupt)
{
    (void)interrupt;
}

uint32_t tfin_cortex_m_systick(void)
{
    return 0;
}

void tfin_cortex_m_systick_start(void)
{
}
