# SPDX-License-Identifier: Apache-2.0
"""What is on a bench: the rig file, ports, resets, leases."""
