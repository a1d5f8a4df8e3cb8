/* SPDX-License-Identifier: Apache-2.0 */
/* A process whose stack is not measured. */
#include "port.h"

uint32_t tfin_port_stack_bytes(void)
{
    return 0;
}

uint32_t tfin_port_stack_painted_free(void)
{
    return 0;
}

uint32_t tfin_port_stack_depth(void)
{
    return 0;
}

void tfin_port_stack_paint(void)
{
}
