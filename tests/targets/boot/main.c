/* SPDX-License-Identifier: Apache-2.0 */
/* Exercises a port: echo, and one-letter commands after a '!'. Answers are lines "=<number>\n". */
#include <string.h>

#include "port.h"

static uint32_t initialised = 0xC0FFEEu;
static uint32_t zeroed;
#ifdef TEST_RAM
static volatile uint8_t too_much[TEST_RAM];
#endif
#ifdef TEST_SYNTAX
this is not C;
#endif

static void say(uint32_t value)
{
    uint8_t text[12];
    size_t at = sizeof text;
    text[--at] = '\n';
    do {
        text[--at] = (uint8_t)('0' + value % 10u);
        value /= 10u;
    } while (value != 0);
    text[--at] = '=';
    tfin_port_write(text + at, sizeof text - at);
}

static int wait_byte(void)
{
    int byte;
    while ((byte = tfin_port_read()) < 0) {
    }
    return byte;
}

static uint32_t loop_ticks(uint32_t turns)
{
    uint32_t before = tfin_port_ticks();
    for (uint32_t i = 0; i < turns; i++) {
        __asm volatile("" ::"r"(i) : "memory");
    }
    return (tfin_port_ticks() - before) & tfin_port_tick_mask;
}

__attribute__((noinline)) static uint32_t deep(uint32_t size)
{
    volatile uint8_t hole[1024];
    for (uint32_t i = 0; i < sizeof hole; i++) {
        hole[i] = (uint8_t)size;
    }
    return hole[size & 1023u];
}

static uint32_t stack_of_deep(void)
{
    tfin_port_stack_paint();
    (void)deep(7);
    return tfin_port_stack_bytes() - tfin_port_stack_painted_free() - tfin_port_stack_depth();
}

/* 64-bit arithmetic through the compiler's helpers; the expected value is in the test */
static uint32_t arithmetic(void)
{
    volatile int64_t a = -987654321012345;
    volatile uint64_t b = 0xFEDCBA9876543210u;
    volatile uint32_t d = 1000003u;
    int64_t q = a / (int64_t)d;
    int64_t r = a % (int64_t)d;
    uint64_t p = b * d;
    uint64_t s = b / d + b % d;
    uint64_t mix = (uint64_t)q ^ (uint64_t)r ^ p ^ s ^ (b >> (d & 31u));
    return (uint32_t)(mix ^ (mix >> 32)) ^ (d / 7u) ^ (d % 7u);
}

static uint32_t memory(void)
{
    static uint8_t a[64], b[64];
    uint32_t bad = 0;
    for (size_t from = 0; from < 5; from++) {
        for (size_t to = 0; to < 5; to++) {
            for (size_t size = 0; size < 40; size++) {
                memset(a, 0x11, sizeof a);
                for (size_t i = 0; i < sizeof b; i++) {
                    b[i] = (uint8_t)(i * 7u);
                }
                memcpy(a + to, b + from, size);
                bad += memcmp(a + to, b + from, size) != 0;
                bad += a[to + size] != 0x11;
                bad += to > 0 && a[to - 1] != 0x11;
            }
        }
    }
    return bad;
}

int main(void)
{
#ifdef TEST_RAM
    too_much[0] = 1;
#endif
    static const uint8_t banner[] = "boot " TFIN_TARGET "\n";
    tfin_port_write(banner, sizeof banner - 1);
    for (;;) {
        int byte = wait_byte();
        uint8_t echo = (uint8_t)byte;
        if (byte != '!') {
            tfin_port_write(&echo, 1);
            continue;
        }
        switch (wait_byte()) {
        case 'v': say((initialised == 0xC0FFEEu && zeroed == 0) ? 1 : 0); break;
        case 'e': say(tfin_port_entropy()); break;
        case 't': say(loop_ticks(1000) > 0 ? loop_ticks(11000) - loop_ticks(1000) : 0); break;
        case 'h': say(tfin_port_tick_hz); break;
        case 's': say(stack_of_deep()); break;
        case 'a': say(arithmetic()); break;
        case 'm': say(memory()); break;
        case 'd':
            zeroed = 1;
            initialised = 2;
            say(0);
            break;
        case 'r': tfin_port_reset(); break;
        case 'x': return 3;
        default: say(0xFFFFFFFFu); break;
        }
    }
}
