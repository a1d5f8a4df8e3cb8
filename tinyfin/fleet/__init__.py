# SPDX-License-Identifier: Apache-2.0
"""Reports of many terminals, on one disk: docs/fleet.md.

What a carrier brings lies in the lake's ``inbox`` before it is acknowledged. ``ingest`` merges it
into Parquet files, of which a manifest says which ones count; DuckDB reads these.
"""
