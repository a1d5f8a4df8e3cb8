/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libFuzzer: any bytes as the TLV data of a transaction. The first says how format 1 is read. What
 * is found lies in the data, one behind the other; what is refused changes nothing and is named
 * where it is; what was read is read again alike.
 */
#include <stdlib.h>
#include <string.h>

#include "emv_rig.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    tfin_emv_config config = {.hash = emv_rig_hash, .format_1 = (uint8_t)(data[0] % 4u)};
    uint32_t bytes = (uint32_t)size - 1;
    data++;

    tfin_tlv_walk walk;
    tfin_tlv tlv, again;
    uint32_t last = 0;
    int rc;
    tfin_tlv_begin(&walk, data, bytes);
    while ((rc = tfin_tlv_next(&walk, &tlv)) == 1) {
        require(tlv.offset >= last && tlv.value > data + tlv.offset);
        require(tlv.value + tlv.size <= data + bytes);
        last = tlv.offset + 1;
        require(tfin_tlv_find(data, bytes, tlv.tag, &again) == 1 && again.offset <= tlv.offset);
    }
    require(tlv.offset <= bytes && tfin_tlv_next(&walk, &again) == rc);

    emv_rig_read(&config, NULL, data, bytes, rc);
    return 0;
}
