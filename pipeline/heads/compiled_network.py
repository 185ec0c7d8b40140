"""A Keras network with its loss and optimiser, compiled so that one call makes many training steps.

`keras.Model.fit` returns to Python for each batch and takes float32 rows. Here one compiled call makes many steps on
rows in their stored dtype. Batches, losses and steps are those of `fit`.
"""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from pipeline.heads.batches import LabelledRows, read_batches


class CompiledNetwork:
    """A network with its loss and optimiser, compiled once for each dtype of features.

    The last layer of `model`, a keras.Model, is one sigmoid or a softmax. `forward(rows, training=bool)`
    computes its outputs; it is the model itself if not given. One call makes at most `max_steps` steps, or `MAX_STEPS`.
    """

    def __init__(
        self,
        model: Any,
        learning_rate: float,
        batch_size: int,
        forward: Callable[..., Any] | None = None,
        max_steps: int | None = None,
    ):
        self.model, self.batch_size, self.forward, self.max_steps = model, batch_size, forward or model, max_steps
        self.adam = Adam(model.trainable_weights, learning_rate)
        self.row_shape = model.input_shape[1:]
        self.loss: Any
        if model.output_shape[-1] == 1:
            self.targets = tf.TensorSpec((None, 1), tf.float32)
            self.loss, self.is_right = keras.losses.BinaryCrossentropy(), keras.metrics.binary_accuracy
        else:
            self.targets = tf.TensorSpec((None,), tf.int64)
            self.loss = keras.losses.SparseCategoricalCrossentropy()
            self.is_right = keras.metrics.sparse_categorical_accuracy
        self.compiled: dict[tuple[str, np.dtype], Any] = {}

    def run(self, mode: str, data: LabelledRows, on_rows: Callable[[int], None] | None = None) -> dict[str, float]:
        """Go through `data.rows` once, to "train" or to "score", and return their mean loss and accuracy.

        `on_rows` is called with the number of rows processed since its last call.
        """
        dtype = data.X.dtype
        if (mode, dtype) not in self.compiled:
            signature = tf.TensorSpec((None, *self.row_shape), dtype), self.targets, tf.TensorSpec((None,), tf.float32)
            function = {"train": self._train, "score": self._score}[mode]
            self.compiled[mode, dtype] = tf.function(function, input_signature=signature)
        sums = np.zeros(2)
        for rows, features in read_batches(data.X, data.rows, self.batch_size, self.max_steps):
            sums += self.compiled[mode, dtype](features, data.targets[rows], data.weights[rows]).numpy()
            if on_rows is not None:
                on_rows(len(rows))
        loss, accuracy = sums / len(data.rows)
        return {"loss": float(loss), "accuracy": float(accuracy)}

    def _train(self, features: tf.Tensor, targets: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
        """Make one step per batch; return the sums of losses and of right answers over the rows."""
        sums = tf.zeros(2)
        for start in tf.range(0, tf.shape(features)[0], self.batch_size):
            stop = start + self.batch_size
            with tf.GradientTape() as tape:
                batch_sums, loss = self._forward(features[start:stop], targets[start:stop], weights[start:stop], True)
            self.adam.step(tape.gradient(loss, self.adam.weights))
            sums += batch_sums
        return sums

    def _score(self, features: tf.Tensor, targets: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
        return self._forward(features, targets, weights, False)[0]

    def _forward(self, features: tf.Tensor, targets: tf.Tensor, weights: tf.Tensor, training: bool) -> Any:
        outputs = self.forward(tf.cast(features, tf.float32), training=training)
        loss = self.loss(targets, outputs, sample_weight=weights)
        rows = tf.cast(tf.shape(features)[0], tf.float32)
        return tf.stack([loss * rows, tf.reduce_sum(tf.cast(self.is_right(targets, outputs), tf.float32))]), loss


class Adam:
    """Adam (Kingma and Ba, 2015) with the settings of Keras, as one fused operation per weight."""

    def __init__(self, weights: list[Any], learning_rate: float):
        self.weights = [weight.value for weight in weights]
        self.moments = [[tf.Variable(tf.zeros_like(weight)) for weight in self.weights] for _ in range(2)]
        self.powers = [tf.Variable(1.0), tf.Variable(1.0)]
        self.learning_rate = tf.Variable(learning_rate, dtype=tf.float32)
        self.settings = {"beta1": 0.9, "beta2": 0.999, "epsilon": 1e-7}
        self.state = [*self.moments[0], *self.moments[1], *self.powers]  # what the next step depends on besides weights

    def step(self, gradients: list[tf.Tensor]) -> None:
        """Update the weights; called inside a `tf.function`."""
        betas = self.settings["beta1"], self.settings["beta2"]
        rate = tf.identity(self.learning_rate)
        power_1, power_2 = (power.assign(power * beta) for power, beta in zip(self.powers, betas, strict=True))
        for weight, gradient, m, v in zip(self.weights, gradients, *self.moments, strict=True):
            tf.raw_ops.ResourceApplyAdam(
                var=weight.handle,
                m=m.handle,
                v=v.handle,
                beta1_power=power_1,
                beta2_power=power_2,
                lr=rate,
                grad=gradient,
                **self.settings,
            )
