"""The backbone: MobileNetV2 (Sandler et al., CVPR 2018) of any width, with a head of any length."""

import torch
from torch import nn

# expansion, channels, blocks, stride of the first
STAGES = [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)]


def channels(n: float) -> int:
    """The nearest multiple of 8 that is not below 0.9 n."""
    rounded = max(8, int(n + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * n else rounded


def conv(i: int, o: int, kernel: int, stride: int = 1, groups: int = 1, clip: bool = True) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Conv2d(i, o, kernel, stride, kernel // 2, groups=groups, bias=False),
                               nn.BatchNorm2d(o)]
    return nn.Sequential(*layers, *([nn.ReLU6(inplace=True)] if clip else []))


class Block(nn.Module):
    def __init__(self, i: int, o: int, stride: int, expansion: int):
        super().__init__()
        hidden = i * expansion
        expand = [conv(i, hidden, 1)] if expansion != 1 else []
        self.layers = nn.Sequential(*expand, conv(hidden, hidden, 3, stride, hidden), conv(hidden, o, 1, clip=False))
        self.residual = stride == 1 and i == o

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.layers(x) if self.residual else self.layers(x)


class Network(nn.Module):
    """[N, 3, H, W] in -1..1 -> [N, embedding], after ReLU6 and global average pooling."""

    def __init__(self, width: float, embedding: int):
        super().__init__()
        c = channels(32 * width)
        body: list[nn.Module] = [conv(3, c, 3, 2)]
        for expansion, o, blocks, stride in STAGES:
            for block in range(blocks):
                body.append(Block(c, channels(o * width), stride if block == 0 else 1, expansion))
                c = channels(o * width)
        self.body = nn.Sequential(*body)
        self.head = conv(c, embedding, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(x)).mean((2, 3))

    def multiply_adds(self, size: int) -> int:
        """Of one image of size x size."""
        total = 0

        def count(layer: nn.Conv2d, _input, output: torch.Tensor) -> None:
            nonlocal total
            total += output[0].numel() * layer.weight[0].numel()

        hooks = [m.register_forward_hook(count) for m in self.modules() if isinstance(m, nn.Conv2d)]
        training = self.training
        self.eval()
        with torch.no_grad():
            self(torch.zeros(1, 3, size, size))
        self.train(training)
        for hook in hooks:
            hook.remove()
        return total
