"""Writes the small graphs that the tests of exporters read: the same network, of random weights, as each exporter spells it.

    python exporters.py torch DIR          torch, onnx, onnxscript, onnxruntime, numpy
    python exporters.py tensorflow DIR     tensorflow, tf2onnx, onnx, onnxruntime, numpy

Beside each NAME.onnx lies NAME.txt: its features of one image, by onnxruntime. The image's byte at row y, column x and colour c
is `((y * 32 + x) * 3 + c) * 7919 % 255`; the graphs take it as `byte / 127.5 - 1`, those named raw as it is.
"""

import sys
import warnings
from pathlib import Path

import numpy as np
import onnxruntime

SIZE = 32
# Channels before and after a block, how many times they are expanded, and the stride.
BLOCKS = [(8, 8, 1, 1), (8, 8, 4, 2), (8, 8, 4, 1), (8, 16, 4, 2)]
FEATURES = 24


def pixels() -> np.ndarray:
    return (np.arange(SIZE * SIZE * 3) * 7919 % 255).reshape(1, SIZE, SIZE, 3)


def write_features(path: Path) -> None:
    session = onnxruntime.InferenceSession(path)
    [input] = session.get_inputs()
    image = pixels()
    if "raw" not in path.name:
        image = image / 127.5 - 1
    if input.shape[1] == 3:
        image = image.transpose(0, 3, 1, 2)
    kind = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(uint8)": np.uint8}[input.type]
    [features] = session.run(None, {input.name: image.astype(kind)})
    path.with_suffix(".txt").write_text("".join(f"{x:.7g}\n" for x in features.ravel()))


def strip(path: Path) -> None:
    """Takes out where on the exporting machine each node comes from."""
    import onnx

    model = onnx.load(path, load_external_data=False)
    for part in [model.graph, *model.graph.node, *model.graph.value_info, *model.graph.input, *model.graph.output,
                 *model.graph.initializer]:
        del part.metadata_props[:]
        part.ClearField("doc_string")
    path.write_bytes(model.SerializeToString())


def by_torch(folder: Path) -> None:
    import torch
    from torch import nn

    def conv(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1, act: bool = True) -> nn.Sequential:
        layers = [nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False), nn.BatchNorm2d(outputs)]
        return nn.Sequential(*layers, *[nn.ReLU6()] * act)

    class Block(nn.Module):
        def __init__(self, inputs: int, outputs: int, times: int, stride: int):
            super().__init__()
            hidden = inputs * times
            expansion = [conv(inputs, hidden, 1)] * (times > 1)
            depthwise = conv(hidden, hidden, 3, stride, groups=hidden)
            self.body = nn.Sequential(*expansion, depthwise, conv(hidden, outputs, 1, act=False))
            self.is_residual = stride == 1 and inputs == outputs

        def forward(self, x):
            return x + self.body(x) if self.is_residual else self.body(x)

    class Network(nn.Module):
        def __init__(self, classes: int = 0):
            super().__init__()
            self.body = nn.Sequential(conv(3, 8, 3, 2), *[Block(*b) for b in BLOCKS], conv(16, FEATURES, 1))
            self.head = nn.Linear(FEATURES, classes) if classes else nn.Identity()

        def forward(self, x):
            return self.head(self.body(x).mean([2, 3]))

    class Raw(nn.Module):
        def __init__(self, network: nn.Module):
            super().__init__()
            self.network = network

        def forward(self, x):
            return self.network((x.permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.5)

    def randomised(network: nn.Module) -> nn.Module:
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.normal_(module.bias, 0, 0.2)
                nn.init.normal_(module.running_mean, 0, 0.2)
                nn.init.uniform_(module.running_var, 0.5, 1.5)
        return network.eval()

    torch.manual_seed(1)
    network, classes = randomised(Network()), randomised(Network(5))
    image = torch.rand(1, 3, SIZE, SIZE)
    old = {"dynamo": False, "opset_version": 17, "input_names": ["image"]}
    torch.onnx.export(network, (image,), folder / "torch_old.onnx", **old)
    plain = {"training": torch.onnx.TrainingMode.PRESERVE, "do_constant_folding": False}
    torch.onnx.export(network, (image,), folder / "torch_batch_norm.onnx", **old, **plain)
    torch.onnx.export(classes, (image,), folder / "torch_classes.onnx", **old)
    torch.onnx.export(network, (image,), folder / "torch_new.onnx")
    raw = torch.randint(0, 255, (1, SIZE, SIZE, 3), dtype=torch.uint8)
    torch.onnx.export(Raw(network), (raw,), folder / "torch_raw.onnx", **old)
    torch.onnx.export(network.half(), (image.half(),), folder / "torch_half.onnx", **old)


def by_tensorflow(folder: Path) -> None:
    import keras
    import tensorflow as tf
    import tf2onnx
    from keras import layers

    keras.utils.set_random_seed(1)

    def after(x, act: bool = True):
        x = layers.BatchNormalization()(x)
        return layers.ReLU(6.0)(x) if act else x

    image = x = layers.Input((SIZE, SIZE, 3), name="image")
    x = after(layers.Conv2D(8, 3, 2, "same", use_bias=False)(x))
    for inputs, outputs, times, stride in BLOCKS:
        block = x
        if times > 1:
            x = after(layers.Conv2D(inputs * times, 1, use_bias=False)(x))
        if stride == 2:
            x = layers.ZeroPadding2D(((0, 1), (0, 1)))(x)
        x = after(layers.DepthwiseConv2D(3, stride, "valid" if stride == 2 else "same", use_bias=False)(x))
        x = after(layers.Conv2D(outputs, 1, use_bias=False)(x), act=False)
        if stride == 1 and inputs == outputs:
            x = layers.Add()([block, x])
    x = after(layers.Conv2D(FEATURES, 1, use_bias=False)(x))
    features = layers.GlobalAveragePooling2D()(x)
    network = keras.Model(image, features)
    classes = keras.Model(image, layers.Dense(5, activation="softmax")(features))
    for layer in network.layers:
        if isinstance(layer, layers.BatchNormalization):
            n, random = layer.gamma.shape[0], np.random
            layer.set_weights([random.uniform(0.5, 1.5, n), random.normal(0, 0.2, n), random.normal(0, 0.2, n),
                               random.uniform(0.5, 1.5, n)])
    first = np.zeros((1, SIZE, SIZE, 3), np.float32)
    for model, name in [(network, "keras_export.onnx"), (classes, "keras_classes.onnx")]:
        model(first)
        model.export(folder / name, format="onnx", verbose=False)
    for name, shape in [("tf2onnx.onnx", (None, SIZE, SIZE, 3)), ("tf2onnx_open.onnx", (None, None, None, 3))]:
        function = tf.function(lambda image: network(image, training=False))
        signature = [tf.TensorSpec(shape, tf.float32, name="image")]
        tf2onnx.convert.from_function(function, input_signature=signature, opset=17, output_path=str(folder / name))


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    exporter, folder = sys.argv[1], Path(sys.argv[2])
    {"torch": by_torch, "tensorflow": by_tensorflow}[exporter](folder)
    for path in sorted(folder.glob("*.onnx")):
        strip(path)
        write_features(path)
