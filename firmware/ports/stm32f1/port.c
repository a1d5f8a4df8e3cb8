/* SPDX-License-Identifier: Apache-2.0 */
/*
 * STM32F100 (STM32VLDISCOVERY): USART1 on PA9 (TX) and PA10 (RX), core at 24 MHz from the internal
 * oscillator. QEMU runs the same image: its clock controller reads 0, so every wait is bounded.
 */
#define RCC_CR 0x40021000u
#define RCC_CFGR 0x40021004u
#define RCC_APB2ENR 0x40021018u
#define GPIOA_CRH 0x40010804u
#define USART1 0x40013800u

#define CR_PLLON (1u << 24)
#define CR_PLLRDY (1u << 25)
#define WAIT_TURNS 20000u

#include "stm32.h"

const uint32_t tfin_port_tick_hz = 24000000u;

void tfin_port_init(void)
{
    uint32_t hz = 8000000u;
    TFIN_REG(RCC_CFGR) = 4u << 18; /* HSI 8 MHz / 2 * 6 = 24 MHz */
    TFIN_REG(RCC_CR) |= CR_PLLON;
    if (wait_for(RCC_CR, CR_PLLRDY, CR_PLLRDY)) {
        TFIN_REG(RCC_CFGR) |= 2u;
        hz = wait_for(RCC_CFGR, 3u << 2, 2u << 2) ? 24000000u : 8000000u;
    }
    TFIN_REG(RCC_APB2ENR) |= (1u << 2) | (1u << 14); /* GPIOA, USART1 */
    (void)TFIN_REG(RCC_APB2ENR);
    /* PA9 alternate push-pull 50 MHz, PA10 floating input */
    TFIN_REG(GPIOA_CRH) = (TFIN_REG(GPIOA_CRH) & ~0xFF0u) | 0x4B0u;
    usart_start(hz);
    tfin_cortex_m_systick_start();
}

uint32_t tfin_port_noise(void)
{
    return 0;
}
