/* SPDX-License-Identifier: Apache-2.0 */
/*
 * STM32F1, its core clocked from the internal oscillator, so that no crystal is needed. The board
 * file says in "defines" which USART leads to the host (TFIN_PORT_USART=1: PA9 and PA10, 2: PA2 and
 * PA3, 3: PB10 and PB11, TX before RX) and in build.f_cpu how fast the core runs: a multiple of
 * 4 MHz, 24 MHz at most on an STM32F100, 64 MHz on the others. QEMU runs the same image: its clock
 * controller reads 0, so every wait is bounded.
 */
#define RCC_CR 0x40021000u
#define RCC_CFGR 0x40021004u
#define FLASH_ACR 0x40022000u

#if TFIN_PORT_USART == 1
#define USART 0x40013800u
#define USART_INTERRUPT 37u
#define USART_ENABLE 0x40021018u /* RCC_APB2ENR */
#define USART_ENABLE_BIT (1u << 14)
#define PIN_CONFIG 0x40010804u /* GPIOA_CRH */
#define PIN_SHIFT 4u           /* of TX; RX is the next pin */
#elif TFIN_PORT_USART == 2
#define USART_INTERRUPT 38u
#define USART_ENABLE 0x4002101Cu /* RCC_APB1ENR */
#define USART_ENABLE_BIT (1u << 17)
#define PIN_CONFIG 0x40010800u /* GPIOA_CRL */
#define PIN_SHIFT 8u
#elif TFIN_PORT_USART == 3
#define USART_INTERRUPT 39u
#define USART_ENABLE 0x4002101Cu
#define USART_ENABLE_BIT (1u << 18)
#define PIN_CONFIG 0x40010C04u /* GPIOB_CRH */
#define PIN_SHIFT 8u
#else
#error "the board file lacks the UART: \"defines\": [\"TFIN_PORT_USART=1\"], or 2 or 3"
#endif
#if F_CPU % 4000000 != 0 || F_CPU < 8000000 || F_CPU > 64000000
#error "build.f_cpu: an STM32F1 runs at a multiple of 4 MHz, from 8000000L to 64000000L, \
from its internal oscillator"
#endif

#define RCC_APB2ENR 0x40021018u
#define APB2_GPIO (TFIN_PORT_USART == 3 ? 1u << 3 : 1u << 2)
#define CR_PLLON (1u << 24)
#define CR_PLLRDY (1u << 25)
#define WAIT_TURNS 20000u

#include "stm32.h"

#define HSI_HZ 8000000u
#define PLL_FACTOR ((uint32_t)F_CPU / (HSI_HZ / 2u))
#define APB1_DIVIDER (F_CPU > 36000000 ? 2u : 1u)
#define USART_HZ (TFIN_PORT_USART == 1 ? (uint32_t)F_CPU : (uint32_t)F_CPU / APB1_DIVIDER)

void tfin_port_init(void)
{
    uint32_t hz = HSI_HZ;
    if (F_CPU > 24000000) {
        /* prefetch, wait states; an STM32F100 has none to set */
        TFIN_REG(FLASH_ACR) = F_CPU > 48000000 ? 0x12u : 0x11u;
    }
    TFIN_REG(RCC_CFGR) = (PLL_FACTOR - 2u) << 18 | (APB1_DIVIDER == 2u ? 4u << 8 : 0u);
    TFIN_REG(RCC_CR) |= CR_PLLON;
    if (wait_for(RCC_CR, CR_PLLRDY, CR_PLLRDY)) {
        TFIN_REG(RCC_CFGR) |= 2u;
        hz = wait_for(RCC_CFGR, 3u << 2, 2u << 2) ? USART_HZ : HSI_HZ;
    }
    if (USART_ENABLE == RCC_APB2ENR) {
        TFIN_REG(RCC_APB2ENR) |= APB2_GPIO | USART_ENABLE_BIT;
    } else {
        TFIN_REG(RCC_APB2ENR) |= APB2_GPIO;
        TFIN_REG(USART_ENABLE) |= USART_ENABLE_BIT;
    }
    (void)TFIN_REG(USART_ENABLE);
    /* TX alternate push-pull 50 MHz, RX floating input */
    TFIN_REG(PIN_CONFIG) = (TFIN_REG(PIN_CONFIG) & ~(0xFFu << PIN_SHIFT)) | (0x4Bu << PIN_SHIFT);
    usart_start(hz);
    tfin_cortex_m_systick_start();
}

uint32_t tfin_port_noise(void)
{
    return 0;
}
