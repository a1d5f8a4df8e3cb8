# SPDX-License-Identifier: Apache-2.0
"""What the report is made of: facts, how they are judged, and how they are drawn."""
