# SPDX-License-Identifier: Apache-2.0
"""From a Keras model to an int8 .tflite, and how far its bytes agree with TFLM's."""
