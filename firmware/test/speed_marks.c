/* SPDX-License-Identifier: Apache-2.0 */
/* The speed of a terminal on the workstation: a mark among its bytes tells the line behind its
 * pipe, at the very byte from which on it holds. See tests/support/cable.py. */
#include <stdio.h>

#include "port.h"

int tfin_port_set_baud(uint32_t baud)
{
    if (baud != 115200u && baud != 230400u && baud != 460800u && baud != 921600u) {
        return 0;
    }
    char mark[32];
    int size = snprintf(mark, sizeof mark, "<TFIN-SPEED %lu>", (unsigned long)baud);
    tfin_port_write((const uint8_t *)mark, (size_t)size);
    return 1;
}

__attribute__((constructor)) static void start(void)
{
    (void)tfin_port_set_baud(TFIN_PORT_BAUD);
}
