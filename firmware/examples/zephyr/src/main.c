/* SPDX-License-Identifier: Apache-2.0 */
/* One transaction scored under Zephyr; docs/ecosystems.md says how to build it. */
#include <zephyr/kernel.h>
#include <zephyr/sys/printk.h>

#include "payment.h"

int main(void)
{
    tfin_verdict verdict;
    int rc = payment_open(tinyfin_pack, TINYFIN_PACK_BYTES, NULL);
    if (rc == TFIN_OK) {
        rc = payment_check((uint32_t)(k_uptime_get() / 1000), 1999, &verdict);
    }
    if (rc == TFIN_OK) {
        printk("score %u action %u\n", (unsigned)verdict.score_q32, (unsigned)verdict.action);
    } else {
        printk("%s\n", tfin_error_name(rc));
    }
    return 0;
}
