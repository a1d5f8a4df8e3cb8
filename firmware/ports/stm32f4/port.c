/* SPDX-License-Identifier: Apache-2.0 */
/*
 * STM32F4, its core clocked from the internal oscillator, so that no crystal is needed. The board
 * file says in build.f_cpu how fast the core runs (25 to 168 MHz, as the chip allows) and in
 * "defines" what leads to the host: TFIN_PORT_USART=1, 2, 3 or 6, and its pins TFIN_PORT_TX=PA9 and
 * TFIN_PORT_RX=PA10; TFIN_PORT_RNG says that the chip has a random number generator. QEMU's
 * netduinoplus2 runs the same image: its clock controller reads 0 for ever, so every wait here is
 * bounded, and its core is at 168 MHz anyway.
 */
#define RCC 0x40023800u
#define RCC_CR (RCC + 0x00u)
#define RCC_PLLCFGR (RCC + 0x04u)
#define RCC_CFGR (RCC + 0x08u)
#define RCC_AHB1ENR (RCC + 0x30u)
#define RCC_AHB2ENR (RCC + 0x34u)
#define RCC_APB1ENR (RCC + 0x40u)
#define RCC_APB2ENR (RCC + 0x44u)
#define FLASH_ACR 0x40023C00u
#define GPIOA 0x40020000u
#define RNG 0x50060800u
#define UNIQUE_ID 0x1FFF7A10u

#if TFIN_PORT_USART == 1
#define USART 0x40011000u
#define USART_INTERRUPT 37u
#define USART_ENABLE RCC_APB2ENR
#define USART_ENABLE_BIT (1u << 4)
#define USART_FUNCTION 7u
#elif TFIN_PORT_USART == 2
#define USART_INTERRUPT 38u
#define USART_ENABLE RCC_APB1ENR
#define USART_ENABLE_BIT (1u << 17)
#define USART_FUNCTION 7u
#elif TFIN_PORT_USART == 3
#define USART_INTERRUPT 39u
#define USART_ENABLE RCC_APB1ENR
#define USART_ENABLE_BIT (1u << 18)
#define USART_FUNCTION 7u
#elif TFIN_PORT_USART == 6
#define USART 0x40011400u
#define USART_INTERRUPT 71u
#define USART_ENABLE RCC_APB2ENR
#define USART_ENABLE_BIT (1u << 5)
#define USART_FUNCTION 8u
#else
#error "the board file lacks the UART, 1, 2, 3 or 6: \"defines\": \
[\"TFIN_PORT_USART=1\", \"TFIN_PORT_TX=PA9\", \"TFIN_PORT_RX=PA10\"]"
#endif
#if !defined(TFIN_PORT_TX) || !defined(TFIN_PORT_RX)
#error "the board file lacks the UART's pins: \"defines\": \
[\"TFIN_PORT_TX=PA9\", \"TFIN_PORT_RX=PA10\"]"
#endif
#if F_CPU < 25000000 || F_CPU > 168000000 || F_CPU % 1000000 != 0
#error "build.f_cpu: an STM32F4 runs at whole MHz, from 25000000L to 168000000L, \
as its data sheet allows"
#endif

#define CR_PLLON (1u << 24)
#define CR_PLLRDY (1u << 25)
#define WAIT_TURNS 100000u

#include "stm32.h"

/* The PLL makes 100 to 432 MHz of 1 MHz, which it divides by 2 or 4 for the core, and by whatever
 * gives 48 MHz at most for the random number generator. */
#define CPU_MHZ ((uint32_t)F_CPU / 1000000u)
#define PLL_DIVIDER (CPU_MHZ > 108u ? 2u : 4u)
#define PLL_MHZ (CPU_MHZ * PLL_DIVIDER)
#define RNG_DIVIDER ((PLL_MHZ + 47u) / 48u)
#define WAIT_STATES ((CPU_MHZ - 1u) / 30u)
/* APB1 runs at 42 MHz at most, APB2 at 84 MHz */
#define APB1_SHIFT (CPU_MHZ > 84u ? 2u : CPU_MHZ > 42u ? 1u : 0u)
#define APB2_SHIFT (CPU_MHZ > 84u ? 1u : 0u)
#define PRESCALER(shift) ((shift) == 0u ? 0u : (shift) + 3u)
#define HSI_HZ 16000000u

#ifdef TFIN_PORT_RNG
static int has_noise; /* the random number generator runs from the PLL */
#endif

/* Returns the clock of the bus that feeds the USART, in Hz. */
static uint32_t clock_init(void)
{
    const uint32_t shift = USART_ENABLE == RCC_APB2ENR ? APB2_SHIFT : APB1_SHIFT;
    TFIN_REG(FLASH_ACR) = 0x700u | WAIT_STATES; /* prefetch, both caches */
    /* HSI 16 MHz / 16 * PLL_MHZ / PLL_DIVIDER (a divisor of 2 is 0 in bits 16
     * and 17, one of 4 is 1) */
    TFIN_REG(RCC_PLLCFGR) =
        16u | (PLL_MHZ << 6) | ((PLL_DIVIDER / 2u - 1u) << 16) | (RNG_DIVIDER << 24);
    TFIN_REG(RCC_CR) |= CR_PLLON;
    if (!wait_for(RCC_CR, CR_PLLRDY, CR_PLLRDY)) {
        return HSI_HZ;
    }
#ifdef TFIN_PORT_RNG
    has_noise = 1;
#endif
    /* run from the PLL */
    TFIN_REG(RCC_CFGR) = (PRESCALER(APB1_SHIFT) << 10) | (PRESCALER(APB2_SHIFT) << 13) | 2u;
    return wait_for(RCC_CFGR, 3u << 2, 2u << 2) ? (uint32_t)F_CPU >> shift : HSI_HZ;
}

void tfin_port_init(void)
{
    const uint32_t tx = TFIN_PORT_TX, rx = TFIN_PORT_RX;
    uint32_t hz = clock_init();
    TFIN_REG(RCC_AHB1ENR) |= 1u << tx / 16u | 1u << rx / 16u;
    TFIN_REG(USART_ENABLE) |= USART_ENABLE_BIT;
    (void)TFIN_REG(USART_ENABLE); /* the clock runs two cycles after the write */
    stm32_pins(GPIOA, USART_FUNCTION, tx, rx);
    usart_start(hz);
#ifdef TFIN_PORT_RNG
    if (has_noise) {
        TFIN_REG(RCC_AHB2ENR) |= 1u << 6;
        (void)TFIN_REG(RCC_AHB2ENR);
        TFIN_REG(RNG) = 4u;
    }
#endif
    tfin_cortex_m_systick_start();
}

uint32_t tfin_port_noise(void)
{
#ifdef TFIN_PORT_RNG
    if (!has_noise) {
        return 0; /* QEMU: neither the generator nor the device id is there, reading them faults */
    }
    uint32_t noise = TFIN_REG(UNIQUE_ID) ^ TFIN_REG(UNIQUE_ID + 4u) ^ TFIN_REG(UNIQUE_ID + 8u);
    return wait_for(RNG + 4u, 1u, 1u) ? noise ^ TFIN_REG(RNG + 8u) : noise;
#else
    return 0;
#endif
}
