"""The backbone: MobileNetV2 (Sandler et al., CVPR 2018) of any width, with a head of any length.

Padded as TensorFlow pads (at stride 2: nothing before, one row and column after) and with its epsilon of batch norm, so
that Keras' ImageNet weights fit.
"""

import torch
import torch.nn.functional as F
from torch import nn

# expansion, channels, blocks, stride of the first
STAGES = [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)]


def channels(n: float) -> int:
    """The nearest multiple of 8 that is not below 0.9 n."""
    rounded = max(8, int(n + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * n else rounded


class Conv(nn.Module):
    """Convolution, batch norm, and ReLU6 unless `clip` is false."""

    def __init__(self, i: int, o: int, kernel: int, stride: int = 1, groups: int = 1, clip: bool = True):
        super().__init__()
        self.stride, self.clip = stride, clip
        self.padding = [0] * 4 if kernel == 1 else [0, 0, 1, 1] if stride == 2 else [1] * 4  # top, left, bottom, right
        own = 1 if self.padding[0] else 0
        self.conv = nn.Conv2d(i, o, kernel, stride, own, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(o, eps=1e-3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norm(self.conv(F.pad(x, (0, 1, 0, 1)) if self.stride == 2 else x))
        return F.relu6(x) if self.clip else x


class Block(nn.Module):
    def __init__(self, i: int, o: int, stride: int, expansion: int):
        super().__init__()
        hidden = i * expansion
        expand = [Conv(i, hidden, 1)] if expansion != 1 else []
        self.layers = nn.Sequential(*expand, Conv(hidden, hidden, 3, stride, hidden), Conv(hidden, o, 1, clip=False))
        self.residual = stride == 1 and i == o

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.layers(x) if self.residual else self.layers(x)


class Network(nn.Module):
    """[N, 3, H, W] in -1..1 -> [N, embedding], after ReLU6 and global average pooling."""

    def __init__(self, width: float, embedding: int):
        super().__init__()
        c = channels(32 * width)
        body: list[nn.Module] = [Conv(3, c, 3, 2)]
        for expansion, o, blocks, stride in STAGES:
            for block in range(blocks):
                body.append(Block(c, channels(o * width), stride if block == 0 else 1, expansion))
                c = channels(o * width)
        self.body = nn.Sequential(*body)
        self.head = Conv(c, embedding, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(x)).mean((2, 3))

    def convolutions(self) -> list[Conv]:
        """In the order in which an image passes them."""
        return [module for module in self.modules() if isinstance(module, Conv)]
