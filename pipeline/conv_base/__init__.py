"""Spec to frozen Keras model: zoo, weights, cut, precision.

Importing this package does not import TensorFlow; the first call that needs it does.
"""
