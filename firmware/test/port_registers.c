/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A port's receive interrupt and its sending, on the workstation: the pages at REGISTERS are memory, so a register holds what it
 * was set to. -DPORT="port.c" -DREGISTERS=..., see tests/wire/test_port_registers.py, which calls poke and the rest.
 */
#define _DEFAULT_SOURCE
#include <sys/mman.h>

#include PORT

int map_registers(void);
void poke(uint32_t address, uint32_t value);
uint32_t peek(uint32_t address);

int map_registers(void)
{
    static const uintptr_t pages[] = {REGISTERS};
    for (size_t i = 0; i < sizeof pages / sizeof pages[0]; i++) {
        void *at = (void *)(pages[i] & ~(uintptr_t)0xFFF);
        if (mmap(at, 0x2000, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) != at) {
            return -1;
        }
    }
    return 0;
}

void poke(uint32_t address, uint32_t value)
{
    *(volatile uint32_t *)(uintptr_t)address = value;
}

uint32_t peek(uint32_t address)
{
    return *(volatile uint32_t *)(uintptr_t)address;
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
