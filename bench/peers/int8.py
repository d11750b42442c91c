"""Writes an int8 model for onnxruntime: static quantisation, activations u8, weights s8 with a scale a channel, calibrated
on a hundred images.

    python int8.py MODEL.onnx IMAGES OUT.onnx
"""

import sys
from pathlib import Path

import numpy as np
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from PIL import Image


class Images(CalibrationDataReader):
    def __init__(self, folder: str):
        files = sorted(Path(folder).rglob("*.jpg"))
        self.files = iter(files[:: max(1, len(files) // 100)])

    def get_next(self) -> dict[str, np.ndarray] | None:
        file = next(self.files, None)
        if file is None:
            return None
        pixels = np.asarray(Image.open(file).convert("RGB").resize((224, 224), Image.BILINEAR), np.float32)
        return {"input": np.ascontiguousarray((pixels / 127.5 - 1).transpose(2, 0, 1)[None])}


def main() -> None:
    model, images, out = sys.argv[1:]
    prepared = f"{out}.prepared"
    quant_pre_process(model, prepared, skip_symbolic_shape=True)
    quantize_static(prepared, out, Images(images), quant_format=QuantFormat.QDQ, per_channel=True,
                    activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8)


if __name__ == "__main__":
    main()
