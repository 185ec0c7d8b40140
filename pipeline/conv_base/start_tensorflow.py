"""Import TensorFlow without the lines that its native code prints."""

import sys

from pipeline.files.native_stderr import native_stderr_hidden


def start_tensorflow_quietly() -> None:
    """Import TensorFlow and Keras without the lines that their native code prints; Python's errors are not hidden."""
    if "tensorflow" in sys.modules:
        return
    with native_stderr_hidden():
        import keras  # noqa: F401
        import tensorflow as tf

        tf.zeros(1)  # the first operation prints the last of these lines
    # TensorFlow takes several models, each traced once, for one model that is traced again and again, and warns.
    tf.get_logger().setLevel("ERROR")
