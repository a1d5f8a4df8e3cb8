/* SPDX-License-Identifier: Apache-2.0 */
/* Runs the example of tinyfin.h (example.c, taken out of the header) and says what it returns, on a
 * port: "example <error>\n". */
#include "port.h"
#include "tinyfin.h"

int check_transaction(void);

int main(void)
{
    int rc = check_transaction();
    tfin_port_write((const uint8_t *)"example ", 8);
    for (const char *c = tfin_error_name(rc); *c != '\0'; c++) {
        tfin_port_write((const uint8_t *)c, 1);
    }
    tfin_port_write((const uint8_t *)"\n", 1);
    tfin_port_exit(rc == TFIN_OK ? 0 : 1);
    return 0;
}
