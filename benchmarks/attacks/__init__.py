# SPDX-License-Identifier: Apache-2.0
"""What an attacker can do to the model in a terminal, measured: see docs/security.md."""
