/* SPDX-License-Identifier: Apache-2.0 */
#include "boot.h"

#include "port.h"

#define PAINT 0x5AFE57ACu

int main(void);

#define POWERED 0x8C2F5400u
#define BOOTS_MASK 0xFFu

__attribute__((section(".boot_seed"))) volatile uint32_t tfin_boot_seed;
/* POWERED since power-up, and in the low byte the boots since then */
__attribute__((section(".boot_kept"))) static volatile uint32_t powered;
static uint8_t power_was_lost;

__attribute__((noreturn)) void tfin_port_boot(void)
{
    const uint32_t *from = tfin_ld_data_image;
    if (from != tfin_ld_data) {
        for (uint32_t *to = tfin_ld_data; to < tfin_ld_data_end; to++) {
            *to = *from++;
        }
    }
    for (uint32_t *to = tfin_ld_bss; to < tfin_ld_bss_end; to++) {
        *to = 0;
    }
    power_was_lost = (powered & ~BOOTS_MASK) != POWERED;
    powered = power_was_lost ? POWERED : POWERED | ((powered + 1u) & BOOTS_MASK);
    tfin_boot_seed = tfin_boot_seed * 0x9E3779B1u + 0x85EBCA6Bu;
    tfin_port_stack_paint();
    tfin_port_init();
    tfin_port_exit(main());
    for (;;) {
    }
}

int tfin_port_power_was_lost(void)
{
    return power_was_lost;
}

uint32_t tfin_port_entropy(void)
{
    /* Every step is a bijection: what differs in one of the words differs in the result. QEMU
     * writes the seed again at every reset, and its ticks may be those of the boot before: then it
     * is the count of boots that differs, above the 24 bits of SysTick. */
    uint32_t since = tfin_port_ticks() ^ powered << 24;
    uint32_t mix = tfin_boot_seed ^ (since * 0x9E3779B1u) ^ tfin_port_noise();
    mix ^= mix >> 16;
    mix *= 0x7FEB352Du;
    mix ^= mix >> 15;
    mix *= 0x846CA68Bu;
    return mix ^ (mix >> 16);
}

uint32_t tfin_port_stack_bytes(void)
{
    return (uint32_t)((uintptr_t)tfin_ld_stack_top - (uintptr_t)tfin_ld_stack_low);
}

uint32_t tfin_port_stack_painted_free(void)
{
    const volatile uint32_t *word = tfin_ld_stack_low;
    while (word < tfin_ld_stack_top && *word == PAINT) {
        word++;
    }
    return (uint32_t)((uintptr_t)word - (uintptr_t)tfin_ld_stack_low);
}

__attribute__((noinline)) uint32_t tfin_port_stack_depth(void)
{
    return (uint32_t)((uintptr_t)tfin_ld_stack_top - (uintptr_t)__builtin_frame_address(0));
}

/* noinline: the frame address has to be below everything the caller holds */
__attribute__((noinline)) void tfin_port_stack_paint(void)
{
    /* 64 bytes below the frame address are left to what this function has pushed
     * itself; an interrupt may come meanwhile, and has taken back what it pushed before
     * the next word is painted */
    uintptr_t stop = (uintptr_t)__builtin_frame_address(0) - 64u;
    for (volatile uint32_t *word = tfin_ld_stack_low; (uintptr_t)word < stop; word++) {
        *word = PAINT;
    }
}
