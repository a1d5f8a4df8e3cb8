/* SPDX-License-Identifier: Apache-2.0 */
/* The terminal: one loop. The port's startup code has set up clock and UART. */
#include "port.h"
#include "wire.h"

int main(void)
{
    tfin_wire_start();
    for (;;) {
        enum tfin_wire_work work = tfin_wire_step();
        int byte = work == TFIN_WIRE_HOLDS ? -1 : tfin_port_read();
        if (byte >= 0) {
            tfin_wire_byte((uint8_t)byte);
        } else if (work == TFIN_WIRE_RESTS && !tfin_wire_idle()) {
            tfin_port_idle();
        }
    }
}
