/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libFuzzer: any bytes as a message of ISO 8583. The first two say which dialect. Data elements lie
 * in the message, in ascending order, without a gap; the rest as for TLV data.
 */
#include <stdlib.h>
#include <string.h>

#include "emv_rig.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2) {
        return 0;
    }
    tfin_emv_config config = {.hash = emv_rig_hash, .near_s = (uint32_t)(data[0] >> 5) << 27};
    tfin_iso8583_dialect dialect = {.flags = data[0] % 32u, .header_bytes = data[1] % 8u};
    uint32_t bytes = (uint32_t)size - 2;
    data += 2;

    tfin_iso8583_walk walk;
    tfin_iso8583_field field, again;
    int rc = tfin_iso8583_begin(&walk, &dialect, data, bytes);
    if (rc == TFIN_EMV_OK) {
        uint32_t number = 1, at = walk.at;
        while ((rc = tfin_iso8583_next(&walk, &field)) == 1) {
            require(field.number > number && field.offset == at);
            require(field.value >= data + at && field.value + field.size <= data + bytes);
            number = field.number;
            at = (uint32_t)(field.value - data) + field.size;
        }
        require(rc < 0 || at == bytes);
        require(tfin_iso8583_next(&walk, &again) == rc);
    }
    require(walk.at <= bytes);

    emv_rig_read(&config, &dialect, data, bytes, rc);
    return 0;
}
