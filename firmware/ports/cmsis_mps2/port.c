/* SPDX-License-Identifier: Apache-2.0 */
/* Arm MPS2 and MPS3 FPGA images: CMSDK UART. The board file gives TFIN_MPS2_UART (address of UART0)
 * and TFIN_MPS2_HZ (clock of core, SysTick and UART). */
#include "port.h"

#include "cortex_m.h"

#define UART_DATA (TFIN_MPS2_UART + 0x0u)
#define UART_STATE (TFIN_MPS2_UART + 0x4u)
#define UART_CTRL (TFIN_MPS2_UART + 0x8u)
#define UART_BAUDDIV (TFIN_MPS2_UART + 0x10u)
#define STATE_TX_FULL 1u
#define STATE_RX_FULL 2u

const uint32_t tfin_port_abilities = TFIN_PORT_EXIT | TFIN_PORT_REBOOT | TFIN_PORT_STACK;
const uint32_t tfin_port_receive_bytes = 0;
const uint32_t tfin_port_tick_hz = TFIN_MPS2_HZ;
const uint32_t tfin_port_tick_mask = 0xFFFFFFu;

void tfin_port_init(void)
{
    TFIN_REG(UART_BAUDDIV) = TFIN_MPS2_HZ / TFIN_PORT_BAUD; /* the UART needs 16 or more */
    TFIN_REG(UART_CTRL) = 3; /* transmit, receive */
    tfin_cortex_m_systick_start();
}

int tfin_port_read(void)
{
    return (TFIN_REG(UART_STATE) & STATE_RX_FULL) != 0 ? (int)(TFIN_REG(UART_DATA) & 0xFFu) : -1;
}

uint32_t tfin_port_receive_overruns(void)
{
    return 0;
}

void tfin_port_write(const uint8_t *data, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        while ((TFIN_REG(UART_STATE) & STATE_TX_FULL) != 0) {
        }
        TFIN_REG(UART_DATA) = data[i];
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
