/* SPDX-License-Identifier: Apache-2.0 */
/* For builds with TFIN_SABOTAGE_OPERATOR=sabotaged_operator: the code of the operator that is off
 * by one, chosen while running; 0: none. Weak, so that every file may include its definition. */
#ifndef TINYFIN_TEST_SABOTAGE_H
#define TINYFIN_TEST_SABOTAGE_H

__attribute__((weak)) int sabotaged_operator;

#endif
