/* SPDX-License-Identifier: Apache-2.0 */
/*
 * STM32F405 and its family: USART1 on PA9 (TX) and PA10 (RX), core at 168 MHz from the internal
 * oscillator, so that no crystal is needed. QEMU's netduinoplus2 runs the same image: its clock
 * controller reads 0 for ever, so every wait here is bounded, and its core is at 168 MHz anyway.
 */
#define RCC 0x40023800u
#define RCC_CR (RCC + 0x00u)
#define RCC_PLLCFGR (RCC + 0x04u)
#define RCC_CFGR (RCC + 0x08u)
#define RCC_AHB1ENR (RCC + 0x30u)
#define RCC_AHB2ENR (RCC + 0x34u)
#define RCC_APB2ENR (RCC + 0x44u)
#define FLASH_ACR 0x40023C00u
#define GPIOA 0x40020000u
#define USART1 0x40011000u
#define RNG 0x50060800u
#define UNIQUE_ID 0x1FFF7A10u

#define CR_PLLON (1u << 24)
#define CR_PLLRDY (1u << 25)
#define WAIT_TURNS 100000u

#include "stm32.h"

const uint32_t tfin_port_tick_hz = 168000000u;

static int has_noise; /* the random number generator runs from the PLL */

/* Returns the clock of APB2, which feeds USART1, in Hz. */
static uint32_t clock_init(void)
{
    TFIN_REG(FLASH_ACR) = 0x705u; /* 5 wait states at 168 MHz, prefetch, both caches */
    /* HSI 16 MHz / 16 * 336 / 2 = 168 MHz (a divisor of 2 is 0 in bits 16 and 17); / 7 = 48 MHz for the random number generator */
    TFIN_REG(RCC_PLLCFGR) = 16u | (336u << 6) | (7u << 24);
    TFIN_REG(RCC_CR) |= CR_PLLON;
    if (!wait_for(RCC_CR, CR_PLLRDY, CR_PLLRDY)) {
        return 16000000u;
    }
    has_noise = 1;
    TFIN_REG(RCC_CFGR) = (5u << 10) | (4u << 13) | 2u; /* APB1 / 4, APB2 / 2, run from the PLL */
    return wait_for(RCC_CFGR, 3u << 2, 2u << 2) ? 84000000u : 16000000u;
}

void tfin_port_init(void)
{
    uint32_t apb2_hz = clock_init();
    TFIN_REG(RCC_AHB1ENR) |= 1u; /* GPIOA */
    TFIN_REG(RCC_APB2ENR) |= 1u << 4; /* USART1 */
    (void)TFIN_REG(RCC_APB2ENR); /* the clock runs two cycles after the write */
    TFIN_REG(GPIOA + 0x24u) = (TFIN_REG(GPIOA + 0x24u) & ~0xFF0u) | 0x770u;       /* AF7 */
    TFIN_REG(GPIOA + 0x0Cu) = (TFIN_REG(GPIOA + 0x0Cu) & ~(0xFu << 18)) | (5u << 18); /* pull up */
    TFIN_REG(GPIOA) = (TFIN_REG(GPIOA) & ~(0xFu << 18)) | (0xAu << 18); /* alternate function */
    usart_start(apb2_hz);
    if (has_noise) {
        TFIN_REG(RCC_AHB2ENR) |= 1u << 6;
        (void)TFIN_REG(RCC_AHB2ENR);
        TFIN_REG(RNG) = 4u;
    }
    tfin_cortex_m_systick_start();
}

uint32_t tfin_port_noise(void)
{
    if (!has_noise) {
        return 0; /* QEMU: neither the generator nor the device id is there, reading them faults */
    }
    uint32_t noise = TFIN_REG(UNIQUE_ID) ^ TFIN_REG(UNIQUE_ID + 4u) ^ TFIN_REG(UNIQUE_ID + 8u);
    return wait_for(RNG + 4u, 1u, 1u) ? noise ^ TFIN_REG(RNG + 8u) : noise;
}
