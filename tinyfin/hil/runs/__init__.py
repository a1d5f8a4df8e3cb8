# SPDX-License-Identifier: Apache-2.0
"""A run of the rig: suites, one process per target, cases, results in files."""
