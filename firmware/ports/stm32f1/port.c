/* SPDX-License-Identifier: Apache-2.0 */
/*
 * STM32F100 (STM32VLDISCOVERY): USART1 on PA9 (TX) and PA10 (RX), core at 24 MHz from the internal
 * oscillator. QEMU runs the same image: its clock controller reads 0, so every wait is bounded.
 */
#include "port.h"

#include "cortex_m.h"
#include "ring.h"

#define RCC_CR 0x40021000u
#define RCC_CFGR 0x40021004u
#define RCC_APB2ENR 0x40021018u
#define GPIOA_CRH 0x40010804u
#define USART1 0x40013800u

#define CR_PLLON (1u << 24)
#define CR_PLLRDY (1u << 25)
#define SR_ORE (1u << 3)
#define SR_RXNE (1u << 5)
#define SR_TXE (1u << 7)
#define USART1_INTERRUPT 37u
#define WAIT_TURNS 20000u

const uint32_t tfin_port_abilities = TFIN_PORT_REBOOT | TFIN_PORT_STACK; /* a chip has nowhere to exit to */
const uint32_t tfin_port_receive_bytes = TFIN_PORT_RECEIVE_BYTES;
const uint32_t tfin_port_tick_hz = 24000000u;
const uint32_t tfin_port_tick_mask = 0xFFFFFFu;

static int wait_for(uint32_t reg, uint32_t mask, uint32_t value)
{
    for (uint32_t turns = 0; turns < WAIT_TURNS; turns++) {
        if ((TFIN_REG(reg) & mask) == value) {
            return 1;
        }
    }
    return 0;
}

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
    TFIN_REG(USART1 + 0x08u) = (hz + TFIN_PORT_BAUD / 2u) / TFIN_PORT_BAUD;
    TFIN_REG(USART1 + 0x0Cu) = (1u << 13) | (1u << 5) | (1u << 3) | (1u << 2); /* UE, RXNEIE, TE, RE */
    tfin_cortex_m_enable(USART1_INTERRUPT);
    tfin_cortex_m_systick_start();
}

static void receive(void)
{
    uint32_t status = TFIN_REG(USART1);
    if ((status & SR_ORE) != 0) {
        tfin_ring_overrun(); /* the read of the data below clears it */
    }
    if ((status & (SR_RXNE | SR_ORE)) != 0) {
        uint8_t byte = (uint8_t)TFIN_REG(USART1 + 0x04u);
        if ((status & SR_RXNE) != 0) {
            tfin_ring_put(byte);
        }
    }
}

__attribute__((section(".vectors.interrupts"), used)) const tfin_vector tfin_interrupts[USART1_INTERRUPT + 1] = {
    [USART1_INTERRUPT] = receive,
};

int tfin_port_read(void)
{
    return tfin_ring_get();
}

uint32_t tfin_port_receive_overruns(void)
{
    return tfin_ring_overruns();
}

void tfin_port_write(const uint8_t *data, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        while ((TFIN_REG(USART1) & SR_TXE) == 0) {
        }
        TFIN_REG(USART1 + 0x04u) = data[i];
    }
}

uint32_t tfin_port_ticks(void)
{
    return tfin_cortex_m_systick();
}

uint32_t tfin_port_noise(void)
{
    return 0;
}
