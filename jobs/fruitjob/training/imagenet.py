"""ImageNet's weights: the student's start, from Keras' file, and the teacher, from the ONNX file that fruitctl carries."""

import json
import zipfile
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper

from network import Network


def keras(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a TensorFlow.js layers model in a zip file."""
    with zipfile.ZipFile(path) as archive:
        manifest = json.loads(archive.read("model.json"))["weightsManifest"]
        data, arrays, at = archive.read("weights.bin"), {}, 0
        for entry in (entry for group in manifest for entry in group["weights"]):
            size = int(np.prod(entry["shape"]))
            arrays[entry["name"]] = np.frombuffer(data, np.float32, size, at).reshape(entry["shape"])
            at += 4 * size
    return arrays


@torch.no_grad()
def start(path: Path, embedding: int) -> Network:
    """Width 0.35. Of the head's 1280 channels those whose batch norm scales most, in their order."""
    arrays, network = keras(path), Network(0.35, 1280)
    names = ["Conv1", "expanded_conv_depthwise", "expanded_conv_project"]
    names += [f"block_{i}_{part}" for i in range(1, 17) for part in ("expand", "depthwise", "project")]
    for name, layer in zip([*names, "Conv_1"], network.convolutions(), strict=True):
        deep = f"{name}/depthwise_kernel"
        kernel = arrays[deep].transpose(2, 3, 0, 1) if deep in arrays else arrays[f"{name}/kernel"].transpose(3, 2, 0, 1)
        norm = {"Conv1": "bn_Conv1", "Conv_1": "Conv_1_bn"}.get(name, f"{name}_BN")
        for parameter, array in [
            (layer.conv.weight, kernel), (layer.norm.weight, arrays[f"{norm}/gamma"]), (layer.norm.bias, arrays[f"{norm}/beta"]),
            (layer.norm.running_mean, arrays[f"{norm}/moving_mean"]), (layer.norm.running_var, arrays[f"{norm}/moving_variance"]),
        ]:
            assert parameter.shape == array.shape, name
            parameter.copy_(torch.from_numpy(array.copy()))
    whole = network.head.state_dict()
    chosen = torch.argsort(-whole["norm.weight"].abs())[:embedding].sort()[0]
    small = Network(0.35, embedding)
    small.body.load_state_dict(network.body.state_dict())
    small.head.load_state_dict({key: value[chosen] if value.ndim else value for key, value in whole.items()})
    return small


@torch.no_grad()
def teacher(path: Path) -> Network:
    """Width 1.0, batch norm folded in as the file has it."""
    graph = onnx.load(path).graph
    tensors = {t.name: numpy_helper.to_array(t).astype(np.float32) for t in graph.initializer}
    tensors |= {n.output[0]: tensors[n.input[0]] for n in graph.node if n.op_type == "Cast"}
    network = Network(1.0, 1280)
    for node, layer in zip([n for n in graph.node if n.op_type == "Conv"], network.convolutions(), strict=True):
        layer.conv.weight.copy_(torch.from_numpy(tensors[node.input[1]]))
        layer.norm.bias.copy_(torch.from_numpy(tensors[node.input[2]]))
        layer.norm.running_var.fill_(1 - layer.norm.eps)
    return network.eval().requires_grad_(False)
