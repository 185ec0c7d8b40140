"""Adam as one fused operation a weight."""

from __future__ import annotations

from typing import Any

import tensorflow as tf


class Adam:
    """Adam (Kingma and Ba, 2015) with the settings of Keras, one fused operation a weight."""

    def __init__(self, weights: list[Any], learning_rate: float, beta_1: float = 0.9, beta_2: float = 0.999):
        self.weights = [weight.value for weight in weights]
        self.moments = [[tf.Variable(tf.zeros_like(weight)) for weight in self.weights] for _ in range(2)]
        self.betas, self.powers = (beta_1, beta_2), [tf.Variable(1.0), tf.Variable(1.0)]
        self.learning_rate = learning_rate

    @property
    def state(self) -> list[tf.Variable]:
        """What the next step depends on besides weights and gradients."""
        return [*self.moments[0], *self.moments[1], *self.powers]

    def step(self, gradients: list[tf.Tensor]) -> None:
        """Change the weights; to be called inside a `tf.function`."""
        power_1, power_2 = (power.assign(power * beta) for power, beta in zip(self.powers, self.betas, strict=True))
        for weight, gradient, m, v in zip(self.weights, gradients, *self.moments, strict=True):
            tf.raw_ops.ResourceApplyAdam(
                var=weight.handle,
                m=m.handle,
                v=v.handle,
                beta1_power=power_1,
                beta2_power=power_2,
                lr=self.learning_rate,
                beta1=self.betas[0],
                beta2=self.betas[1],
                epsilon=1e-7,
                grad=gradient,
            )
