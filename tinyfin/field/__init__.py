# SPDX-License-Identifier: Apache-2.0
"""Signed messages to a terminal in service (keys, commands, notices), its audit log and report."""
