"""Keras' MobileNetV2 with the weights of an ONNX file."""

import numpy as np
import onnx
from onnx import numpy_helper


def weights(path: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """Kernel and bias of each convolution, in order, in Keras' layout. Batch norm is folded in."""
    graph = onnx.load(path).graph
    constants = {t.name: numpy_helper.to_array(t).astype(np.float32) for t in graph.initializer}
    found = []
    for node in graph.node:
        if node.op_type == "Conv":
            kernel, bias = constants[node.input[1]], constants[node.input[2]]
            group = next((a.i for a in node.attribute if a.name == "group"), 1)
            # OIHW to HWIO, or HW channel 1 for a depthwise one.
            kernel = kernel.transpose(2, 3, 0, 1) if group > 1 else kernel.transpose(2, 3, 1, 0)
            found.append((kernel, bias))
    return found


def build(convolutions: list[tuple[np.ndarray, np.ndarray]], size: int = 224):
    """The network of Keras' own applications, without its head, averaged over the map."""
    from tensorflow import keras

    model = keras.applications.MobileNetV2(
        input_shape=(size, size, 3), include_top=False, weights=None, pooling="avg")
    layers = [layer for layer in model.layers
              if isinstance(layer, (keras.layers.Conv2D, keras.layers.DepthwiseConv2D))]
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    assert len(layers) == len(norms) == len(convolutions)
    for layer, norm, (kernel, bias) in zip(layers, norms, convolutions):
        layer.set_weights([kernel])
        one = np.ones_like(bias)
        norm.set_weights([one, bias, 0 * one, one - norm.epsilon])
    return model
