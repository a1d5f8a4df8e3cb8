# SPDX-License-Identifier: Apache-2.0
"""From transactions to a trained model: split, input maps, families, calibration, metrics."""
