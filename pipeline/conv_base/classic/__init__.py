"""The networks before VGG that Keras lacks: LeNet-5, AlexNet, ZFNet and GoogLeNet, each after its paper.

Each function takes the arguments of the functions of `keras.applications`, as far as they mean something here, and
returns a model of Keras' own layers and operations, which Keras loads in safe mode without this package. There are no
published weights for Keras; the networks are for training on one's own images.
"""

from collections.abc import Callable
from typing import Any

from pipeline.conv_base.classic.alexnet import AlexNet
from pipeline.conv_base.classic.googlenet import GoogLeNet
from pipeline.conv_base.classic.lenet5 import LeNet5
from pipeline.conv_base.classic.zfnet import ZFNet

CLASSIC_MODELS: tuple[Callable[..., Any], ...] = (LeNet5, AlexNet, ZFNet, GoogLeNet)
