/* SPDX-License-Identifier: Apache-2.0 */
/*
 * STM32L4, its core clocked from the internal oscillator, so that no crystal is needed. The board
 * file says in build.f_cpu how fast the core runs (a multiple of 2 MHz, 32 to 80 MHz) and in
 * "defines" what leads to the host: TFIN_PORT_USART=1, 2 or 3, and its pins TFIN_PORT_TX=PA2 and
 * TFIN_PORT_RX=PA3. Registers: RM0351.
 */
#define RCC 0x40021000u
#define RCC_CR (RCC + 0x00u)
#define RCC_CFGR (RCC + 0x08u)
#define RCC_PLLCFGR (RCC + 0x0Cu)
#define RCC_AHB2ENR (RCC + 0x4Cu)
#define RCC_APB1ENR1 (RCC + 0x58u)
#define RCC_APB2ENR (RCC + 0x60u)
#define RCC_CCIPR (RCC + 0x88u)
#define FLASH_ACR 0x40022000u
#define GPIOA 0x48000000u
#define RNG 0x50060800u
#define UNIQUE_ID 0x1FFF7590u

#define USART_HAS_ISR
#define USART_FUNCTION 7u
#if TFIN_PORT_USART == 1
#define USART 0x40013800u
#define USART_INTERRUPT 37u
#define USART_ENABLE RCC_APB2ENR
#define USART_ENABLE_BIT (1u << 14)
#elif TFIN_PORT_USART == 2
#define USART_INTERRUPT 38u
#define USART_ENABLE RCC_APB1ENR1
#define USART_ENABLE_BIT (1u << 17)
#elif TFIN_PORT_USART == 3
#define USART_INTERRUPT 39u
#define USART_ENABLE RCC_APB1ENR1
#define USART_ENABLE_BIT (1u << 18)
#else
#error "the board file lacks the UART, 1, 2 or 3: \"defines\": \
[\"TFIN_PORT_USART=2\", \"TFIN_PORT_TX=PA2\", \"TFIN_PORT_RX=PA3\"]"
#endif
#if !defined(TFIN_PORT_TX) || !defined(TFIN_PORT_RX)
#error "the board file lacks the UART's pins: \"defines\": \
[\"TFIN_PORT_TX=PA2\", \"TFIN_PORT_RX=PA3\"]"
#endif
#if F_CPU < 32000000 || F_CPU > 80000000 || F_CPU % 2000000 != 0
#error "build.f_cpu: an STM32L4 runs at a multiple of 2 MHz, from 32000000L to 80000000L"
#endif

#define CR_HSION (1u << 8)
#define CR_HSIRDY (1u << 10)
#define CR_PLLON (1u << 24)
#define CR_PLLRDY (1u << 25)
#define WAIT_TURNS 100000u

#include "stm32.h"

/* HSI 16 MHz / 4 * PLL_FACTOR is the PLL's clock, 64 to 160 MHz. Half of it clocks core and buses;
 * divided by an even number it is at most 48 MHz, for the random number generator. */
#define PLL_FACTOR ((uint32_t)F_CPU / 2000000u)
#define PLL_MHZ (4u * PLL_FACTOR)
#define RNG_DIVIDER (PLL_MHZ > 96u ? 4u : 2u)
#define WAIT_STATES (((uint32_t)F_CPU - 1u) / 16000000u)
#define MSI_HZ 4000000u /* what the core runs on after reset */

static int has_noise; /* the random number generator runs from the PLL */

/* Returns the clock that feeds the USART, in Hz. */
static uint32_t clock_init(void)
{
    TFIN_REG(RCC_CR) |= CR_HSION;
    if (!wait_for(RCC_CR, CR_HSIRDY, CR_HSIRDY)) {
        return MSI_HZ;
    }
    TFIN_REG(FLASH_ACR) = 0x700u | WAIT_STATES; /* prefetch, both caches */
    /* source HSI, divided by 4; outputs R (divided by 2) and Q enabled */
    TFIN_REG(RCC_PLLCFGR) = 2u | (3u << 4) | (PLL_FACTOR << 8) | (1u << 20) |
                            ((RNG_DIVIDER / 2u - 1u) << 21) | (1u << 24);
    TFIN_REG(RCC_CR) |= CR_PLLON;
    if (!wait_for(RCC_CR, CR_PLLRDY, CR_PLLRDY)) {
        return MSI_HZ;
    }
    has_noise = 1;
    TFIN_REG(RCC_CFGR) = 3u; /* run from the PLL, buses as fast as the core */
    return wait_for(RCC_CFGR, 3u << 2, 3u << 2) ? (uint32_t)F_CPU : MSI_HZ;
}

void tfin_port_init(void)
{
    const uint32_t tx = TFIN_PORT_TX, rx = TFIN_PORT_RX;
    uint32_t hz = clock_init();
    TFIN_REG(RCC_AHB2ENR) |= 1u << tx / 16u | 1u << rx / 16u;
    TFIN_REG(USART_ENABLE) |= USART_ENABLE_BIT;
    (void)TFIN_REG(USART_ENABLE); /* the clock runs two cycles after the write */
    stm32_pins(GPIOA, USART_FUNCTION, tx, rx);
    usart_start(hz);
    if (has_noise) {
        TFIN_REG(RCC_CCIPR) |= 2u << 26; /* 48 MHz clock: the PLL's Q */
        TFIN_REG(RCC_AHB2ENR) |= 1u << 18;
        (void)TFIN_REG(RCC_AHB2ENR);
        TFIN_REG(RNG) = 4u;
    }
    tfin_cortex_m_systick_start();
}

uint32_t tfin_port_noise(void)
{
    uint32_t noise = TFIN_REG(UNIQUE_ID) ^ TFIN_REG(UNIQUE_ID + 4u) ^ TFIN_REG(UNIQUE_ID + 8u);
    return has_noise && wait_for(RNG + 4u, 1u, 1u) ? noise ^ TFIN_REG(RNG + 8u) : noise;
}
