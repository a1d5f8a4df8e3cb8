/* SPDX-License-Identifier: Apache-2.0 */
/* Part of a port.c, after espressif.h: what is received is looked for, by no interrupt. */
#ifndef TFIN_ESPRESSIF_POLLED_H
#define TFIN_ESPRESSIF_POLLED_H

int tfin_port_read(void)
{
    return received();
}

void tfin_port_idle(void)
{
}

#ifdef TFIN_PORT_USB

const uint32_t tfin_port_receive_bytes = TFIN_PORT_RECEIVE_BYTES; /* USB holds its sender back */

uint32_t tfin_port_receive_overruns(void)
{
    return 0;
}

#else

const uint32_t tfin_port_receive_bytes = 0;

uint32_t tfin_port_receive_overruns(void)
{
    static uint32_t overruns;
    if ((TFIN_REG(UART_RAW) & UART_LOST) != 0) {
        overruns++;
        TFIN_REG(UART_CLEAR) = UART_LOST;
    }
    return overruns;
}

#endif
#endif
