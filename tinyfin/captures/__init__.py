# SPDX-License-Identifier: Apache-2.0
"""Captures of ISO 8583 messages and of EMV data, as transactions with the schema's names."""

from tinyfin.captures.convert import Converted, convert

__all__ = ["Converted", "convert"]
