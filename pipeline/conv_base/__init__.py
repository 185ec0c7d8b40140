"""Spec to frozen Keras model: zoo, weights, cut, precision.

Importing this package does not import TensorFlow; the first call that needs it does.
"""

from pipeline.conv_base.base import ConvBase, load_conv_base, preprocess
from pipeline.conv_base.precision import settle_precision
from pipeline.conv_base.zoo import conv_base_names

__all__ = ["ConvBase", "conv_base_names", "load_conv_base", "preprocess", "settle_precision"]
