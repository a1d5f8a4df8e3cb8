/* SPDX-License-Identifier: Apache-2.0 */
/* QEMU's Xtensa "sim" machine with the lx106 core of the ESP8266: the console is the simulator's
 * call instruction (-semihosting), the counter is CCOUNT. */
#include "port.h"

enum { SIM_EXIT = 1, SIM_READ = 3, SIM_WRITE = 4, SIM_SELECT_ONE = 29 };

const uint32_t tfin_port_abilities = TFIN_PORT_EXIT | TFIN_PORT_REBOOT | TFIN_PORT_STACK;
const uint32_t tfin_port_receive_bytes = TFIN_PORT_RECEIVE_BYTES; /* a pipe holds its sender back */
const uint32_t tfin_port_tick_hz = F_CPU;
const uint32_t tfin_port_tick_mask = 0xFFFFFFFFu;

void tfin_start(void);

static int simcall(int call, int a, int b, int c)
{
    register int a2 __asm("a2") = call;
    register int a3 __asm("a3") = a;
    register int a4 __asm("a4") = b;
    register int a5 __asm("a5") = c;
    __asm volatile("simcall" : "+r"(a2), "+r"(a3) : "r"(a4), "r"(a5) : "memory");
    return a2;
}

void tfin_port_init(void)
{
}

int tfin_port_read(void)
{
    int no_wait[2] = {0, 0};
    uint8_t byte;
    if (simcall(SIM_SELECT_ONE, 0, 1, (int)no_wait) <= 0) {
        return -1;
    }
    return simcall(SIM_READ, 0, (int)&byte, 1) == 1 ? (int)byte : -1;
}

void tfin_port_idle(void)
{
}

uint32_t tfin_port_receive_overruns(void)
{
    return 0;
}

void tfin_port_write(const uint8_t *data, size_t size)
{
    while (size > 0) {
        int sent = simcall(SIM_WRITE, 1, (int)data, (int)size);
        if (sent <= 0) {
            return;
        }
        data += sent;
        size -= (size_t)sent;
    }
}

int tfin_port_set_baud(uint32_t baud)
{
    (void)baud;
    return 0; /* a console, not a line */
}

uint32_t tfin_port_ticks(void)
{
    uint32_t count;
    __asm volatile("rsr %0, ccount" : "=a"(count));
    return count;
}

uint32_t tfin_port_noise(void)
{
    return 0;
}

void tfin_port_reset(void)
{
    tfin_start(); /* the simulator has no reset line */
    for (;;) {
    }
}

void tfin_port_exit(int code)
{
    (void)simcall(SIM_EXIT, code, 0, 0);
    for (;;) {
    }
}
