/* SPDX-License-Identifier: Apache-2.0 */
#include "values.h"

enum { FORCED_ONLINE_BYTE = 3, FORCED_ONLINE_BIT = 0x08 };

enum tfin_emv_cryptogram tfin_emv_decide(enum tfin_emv_cryptogram proposed, uint32_t action)
{
    if (action >= TFIN_ACTION_DECLINE || (proposed != TFIN_EMV_TC && proposed != TFIN_EMV_ARQC)) {
        return TFIN_EMV_AAC;
    }
    return action == TFIN_ACTION_ACCEPT ? proposed : TFIN_EMV_ARQC;
}

int tfin_emv_force_online(uint8_t tvr[5], uint32_t action)
{
    if (action == TFIN_ACTION_ACCEPT) {
        return 0;
    }
    tvr[FORCED_ONLINE_BYTE] |= FORCED_ONLINE_BIT;
    return 1;
}
