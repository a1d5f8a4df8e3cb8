# SPDX-License-Identifier: Apache-2.0
"""Pages that need nothing but themselves: words, tables and pictures as one HTML file."""
