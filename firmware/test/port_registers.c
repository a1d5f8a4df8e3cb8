/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A port's receive interrupt and its sending, on the workstation: the pages at REGISTERS are memory, so a register holds what it
 * was set to. -DPORT="port.c" -DREGISTERS=..., see tests/wire/test_port_registers.py, which calls poke and the rest.
 */
#define _DEFAULT_SOURCE
#include <stdint.h>
#include <sys/mman.h>

int map_registers(void);
void unmap_registers(void);
void poke(uint32_t address, uint32_t value);
uint32_t peek(uint32_t address);
void set_line(int works);
void gone_out(uint32_t event);

#include PORT

static const uintptr_t pages[] = {REGISTERS};

int map_registers(void)
{
    for (size_t i = 0; i < sizeof pages / sizeof pages[0]; i++) {
        void *at = (void *)(pages[i] & ~(uintptr_t)0xFFF);
        if (mmap(at, 0x2000, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) != at) {
            return -1;
        }
    }
    return 0;
}

void unmap_registers(void)
{
    for (size_t i = 0; i < sizeof pages / sizeof pages[0]; i++) {
        (void)munmap((void *)(pages[i] & ~(uintptr_t)0xFFF), 0x2000);
    }
}

void poke(uint32_t address, uint32_t value)
{
    *(volatile uint32_t *)(uintptr_t)address = value;
}

uint32_t peek(uint32_t address)
{
    return *(volatile uint32_t *)(uintptr_t)address;
}

/* A UART that tells by an event that a byte has gone out: the port's source calls this with the event's address where it gives it a byte. */
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
