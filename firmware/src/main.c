/* SPDX-License-Identifier: Apache-2.0 */
/* The terminal: one loop. The port's startup code has set up clock and UART. */
#include "port.h"
#include "wire.h"

int main(void)
{
    tfin_wire_start();
    for (;;) {
        int byte = tfin_port_read();
        if (byte >= 0) {
            tfin_wire_byte((uint8_t)byte);
        } else if (!tfin_wire_idle()) {
            tfin_port_idle();
        }
    }
}
