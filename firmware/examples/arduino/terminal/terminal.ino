// SPDX-License-Identifier: Apache-2.0
// Scores an amount (in minor units) that comes on the serial line. docs/ecosystems.md says which
// files lie beside this one.
#include <monocypher.h>
#include <tinyfin.h>

#include "payment.h"

void setup()
{
    Serial.begin(115200);
    int rc = payment_open(tinyfin_pack, TINYFIN_PACK_BYTES, 0);
    Serial.println(rc == TFIN_OK ? "ready" : tfin_error_name(rc));
}

void loop()
{
    if (Serial.available() == 0) {
        return;
    }
    long amount = Serial.parseInt();
    if (amount <= 0) {
        return; // the end of a line
    }
    tfin_verdict verdict;
    int rc = payment_check(millis() / 1000, amount, &verdict);
    if (rc != TFIN_OK) {
        Serial.println(tfin_error_name(rc));
        return;
    }
    Serial.print("score ");
    Serial.print((unsigned long)verdict.score_q32);
    Serial.print(" action ");
    Serial.println((unsigned long)verdict.action);
}
