"""Writes a trained network as ONNX: batch norm folded, weights in half precision, preprocessing in the metadata."""

from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from network import Block, Conv, Network


def fold(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> tuple[np.ndarray, np.ndarray]:
    """Weight and bias of the convolution that does both."""
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    return ((conv.weight * scale[:, None, None, None]).detach().numpy(),
            (norm.bias - norm.running_mean * scale).detach().numpy())


class Graph:
    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        for name, value in [("zero", 0.0), ("six", 6.0)]:
            self.weights.append(numpy_helper.from_array(np.array(value, np.float32), name))

    def node(self, op: str, inputs: list[str], output: str, **attributes) -> str:
        self.nodes.append(helper.make_node(op, inputs, [output], output, **attributes))
        return output

    def weight(self, name: str, value: np.ndarray) -> str:
        """Kept as f16, cast to f32 where it is used: half the file."""
        self.weights.append(numpy_helper.from_array(value.astype(np.float16), f"{name}.f16"))
        return self.node("Cast", [f"{name}.f16"], name, to=TensorProto.FLOAT)

    def conv(self, x: str, layer: Conv, name: str) -> str:
        weight, bias = fold(layer.conv, layer.norm)
        inputs = [x, self.weight(f"{name}.weight", weight), self.weight(f"{name}.bias", bias)]
        x = self.node("Conv", inputs, f"{name}.conv", kernel_shape=list(layer.conv.kernel_size),
                      strides=list(layer.conv.stride), pads=layer.padding, group=layer.conv.groups)
        return self.node("Clip", [x, "zero", "six"], name) if layer.clip else x


def export(network: Network, crop: int, image: int, path: Path, source: str) -> None:
    """`image` f32 [N, 3, H, W], by default `crop` each, of an image whose shorter side is `image`; -> `features` f32
    [N, embedding]."""
    graph = Graph()
    x = graph.conv("image", network.body[0], "stem")
    for number, block in enumerate(network.body[1:]):
        assert isinstance(block, Block)
        entry = x
        for part, layer in enumerate(block.layers):
            x = graph.conv(x, layer, f"block{number}.{part}")
        if block.residual:
            x = graph.node("Add", [entry, x], f"block{number}")
    x = graph.conv(x, network.head, "head")
    x = graph.node("GlobalAveragePool", [x], "pool")
    # Square roots, so that the few largest features do not decide distances alone (power normalisation: Perronnin et al.,
    # ECCV 2010).
    x = graph.node("Sqrt", [x], "root")
    graph.node("Flatten", [x], "features", axis=1)
    embedding = network.head.conv.out_channels
    model = helper.make_model(
        helper.make_graph(
            graph.nodes, "fruitjob-builtin",
            [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 3, "H", "W"])],
            [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["N", embedding])],
            graph.weights),
        opset_imports=[helper.make_opsetid("", 17)], ir_version=8, producer_name="fruitjob")
    helper.set_model_props(model, {
        "input_size": str(crop), "resize": str(image), "mean": "127.5", "std": "127.5", "layout": "NCHW",
        "color": "RGB", "source": source})
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
