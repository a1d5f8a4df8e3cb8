# SPDX-License-Identifier: Apache-2.0
"""Features: operators, expressions, the catalogue of named features, the compiler."""
