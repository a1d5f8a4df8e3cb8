/* SPDX-License-Identifier: Apache-2.0 */
/* What unicorn calls for every instruction of tests/support/unicorn_machine.py: in C, because there
 * are millions of them. */
#include <stdint.h>

struct counter {
    uint64_t count;
    uint64_t limit; /* stop before this instruction */
    int (*stop)(void *);
    uint64_t closed_from, closed_to; /* no instruction from there; unicorn keeps what it has read */
    uint64_t trespass;               /* where one was, or 0 */
};

void count_instruction(void *unicorn, uint64_t address, uint32_t size, struct counter *counter);

void count_instruction(void *unicorn, uint64_t address, uint32_t size, struct counter *counter)
{
    (void)size;
    if (counter->count == counter->limit) {
        counter->stop(unicorn);
        return;
    }
    if (address >= counter->closed_from && address < counter->closed_to) {
        counter->trespass = address;
        counter->stop(unicorn);
        return;
    }
    counter->count++;
}
