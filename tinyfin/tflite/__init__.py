# SPDX-License-Identifier: Apache-2.0
"""What a .tflite file holds, and the fixed-point numbers that TFLite Micro makes of its scales."""
