# SPDX-License-Identifier: Apache-2.0
"""What packs and networks cost on a target: bytes, stack, instructions."""
