/* SPDX-License-Identifier: Apache-2.0 */
/* Zephyr on this machine, for the example. The entry is the application's own main. */
#include <stdarg.h>
#include <stdio.h>

#include <zephyr/kernel.h>
#include <zephyr/sys/printk.h>

int64_t k_uptime_get(void)
{
    return 5 * 1000;
}

void printk(const char *fmt, ...)
{
    va_list arguments;
    va_start(arguments, fmt);
    vprintf(fmt, arguments);
    va_end(arguments);
}
