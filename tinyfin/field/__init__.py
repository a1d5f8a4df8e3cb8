# SPDX-License-Identifier: Apache-2.0
"""What a terminal in service is told: keys, commands and notices, each of them signed."""
