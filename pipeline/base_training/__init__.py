"""Training a conv base end to end on the user's images, so that it can be the frozen conv base of a store.

The images are decoded once. A temporary classifier stands on the conv base while it is trained; the written
file holds the conv base alone, with its preprocessing inside.
"""

from pipeline.base_training.plan import TrainingPlan
from pipeline.base_training.train_base import TrainedConvBase, check_out, train_conv_base

__all__ = ["TrainedConvBase", "TrainingPlan", "check_out", "train_conv_base"]
