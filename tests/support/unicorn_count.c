/* SPDX-License-Identifier: Apache-2.0 */
/* What unicorn calls for every instruction of tests/support/unicorn_machine.py: in C, because there
 * are millions of them. */
#include <stdint.h>

struct counter {
    uint64_t count;
    uint64_t limit; /* stop before this instruction */
    int (*stop)(void *);
};

void count_instruction(void *unicorn, uint64_t address, uint32_t size, struct counter *counter);

void count_instruction(void *unicorn, uint64_t address, uint32_t size, struct counter *counter)
{
    (void)address;
    (void)size;
    if (counter->count == counter->limit) {
        counter->stop(unicorn);
        return;
    }
    counter->count++;
}
