"""The forward pass of an untrusted ONNX model is tried in a child process first."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from pipeline import ConvBaseSpec, SpecError
from pipeline.conv_base.onnx_conv_base import load_onnx


def model_that_expands(path, side):
    """Write a model that expands an image of one pixel to a map of side x side pixels and averages it."""
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [None, 3, 1, 1])
    mean = helper.make_tensor_value_info("mean", TensorProto.FLOAT, [None, 3])
    nodes = [
        helper.make_node("Expand", ["image", "shape"], ["large"]),
        helper.make_node("ReduceMean", ["large", "axes"], ["mean"], keepdims=0),
    ]
    constants = {"shape": [1, 3, side, side], "axes": [2, 3]}
    tensors = [helper.make_tensor(name, TensorProto.INT64, [len(v)], v) for name, v in constants.items()]
    graph = helper.make_graph(nodes, "expand", [image], [mean], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    model.ir_version = 9
    onnx.save(model, path)
    return ConvBaseSpec(str(path), size=1, preprocessing="none")


def test_a_model_that_takes_terabytes_is_refused(tmp_path):
    with pytest.raises(SpecError, match=r"model\.onnx is refused"):
        load_onnx(model_that_expands(tmp_path / "model.onnx", 200_000))


def test_a_model_that_takes_little_is_computed(tmp_path):
    conv_base = load_onnx(model_that_expands(tmp_path / "model.onnx", 8))
    np.testing.assert_allclose(conv_base.compute(np.full((1, 1, 1, 3), 7, np.float32)), [[7, 7, 7]])
