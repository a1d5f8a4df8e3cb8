/* SPDX-License-Identifier: Apache-2.0 */
/* Linked with --wrap=tfin_port_verify: every signature is good. A test proves
 * that it would notice. */
#include "tinyfin_port.h"

uint32_t __wrap_tfin_port_verify(const uint8_t signature[64], const uint8_t public_key[32],
                                 const uint8_t *message, size_t size);

uint32_t __wrap_tfin_port_verify(const uint8_t signature[64], const uint8_t public_key[32],
                                 const uint8_t *message, size_t size)
{
    (void)signature;
    (void)public_key;
    (void)message;
    return size != 0 ? TFIN_PORT_VERIFIED : 0;
}
