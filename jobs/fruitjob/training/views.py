"""Views of the training pictures: each time anew turned, cut, laid before something else, and lit.

Pictures are u8 [N, 3, S, S]: photographs squeezed into a square, with the aspect that they had beside them, so that a view
has their true shape. Views are f32 [N, 3, size, size]; `light` ends them in -1..1, as the network takes them.
"""

import math

import torch
import torch.nn.functional as F


def uniform(n: int, low: float, high: float, *shape: int) -> torch.Tensor:
    return torch.empty(n, *shape).uniform_(low, high)


def affine(turn: torch.Tensor, wide: torch.Tensor, high: torch.Tensor, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """[N, 2, 3]: a window of `wide` x `high` (shares of the picture; a negative width mirrors) around (x, y), turned."""
    cos, sin = torch.cos(turn), torch.sin(turn)
    return torch.stack([torch.stack([cos * wide, -sin * high, x], 1), torch.stack([sin * wide, cos * high, y], 1)], 1)


def draw(pictures: torch.Tensor, window: torch.Tensor, size: int, outside: str) -> torch.Tensor:
    grid = F.affine_grid(window, [len(pictures), pictures.shape[1], size, size], align_corners=False)
    return F.grid_sample(pictures, grid, padding_mode=outside, align_corners=False)


def turns(n: int, share_any: float) -> torch.Tensor:
    """Mostly small ones."""
    return torch.where(torch.rand(n) < share_any, uniform(n, -math.pi, math.pi), torch.randn(n) * 0.1)


def mirrors(n: int) -> torch.Tensor:
    return torch.where(torch.rand(n) < 0.5, 1.0, -1.0)


def photograph(pictures: torch.Tensor, aspects: torch.Tensor, smallest: float, sizes: list[int]) -> list[torch.Tensor]:
    """The same window of each picture at each size: of `smallest` to all of its area, a quarter of them the middle square.

    `aspects` [N, 2]: width and height over the shorter of them."""
    n = len(pictures)
    share = torch.where(torch.rand(n) < 0.25, torch.ones(n), uniform(n, smallest, 1).sqrt())
    wide, high = share / aspects[:, 0], share / aspects[:, 1]
    stretch = torch.exp(uniform(n, -0.15, 0.15))
    wide, high = (wide * stretch).clamp(max=1), (high / stretch).clamp(max=1)
    x, y = (1 - wide) * uniform(n, -1, 1), (1 - high) * uniform(n, -1, 1)
    window = affine(turns(n, 0.15), wide * mirrors(n), high, x, y)
    return [draw(pictures.float() / 255, window, size, "reflection") for size in sizes]


def turntable(
    pictures: torch.Tensor, sizes: list[int], on_white: torch.Tensor, behind: torch.Tensor,
) -> list[torch.Tensor]:
    """Pictures before white: as they are where `on_white` [N], else cut out, and laid before a photograph (of `behind`,
    [N, 3, S, S]), a plain colour or a gradient."""
    n = len(pictures)
    x = pictures.float() / 255
    # The studio's background is white: how much a pixel is not.
    cut = torch.cat([x, ((252 / 255 - x.amin(1, keepdim=True)) * 12).clamp(0, 1)], 1)
    zoom = torch.where(on_white, torch.exp(uniform(n, -0.2, 0.2)) * 0.96, torch.exp(uniform(n, -0.5, 0.7)))
    off = torch.where(on_white, 0.08, 0.35)
    window = affine(turns(n, 0.3), zoom * mirrors(n), zoom, uniform(n, -1, 1) * off, uniform(n, -1, 1) * off)
    share = uniform(n, 0.15, 1)
    piece = affine(torch.zeros(n), share, share, (1 - share) * uniform(n, -1, 1), (1 - share) * uniform(n, -1, 1))
    corners, kind = torch.rand(n, 3, 2, 2), torch.randint(0, 5, (n, 1, 1, 1))
    views = []
    for size in sizes:
        drawn = draw(cut, window, size, "border")
        opaque = drawn[:, 3:] * draw(torch.ones(n, 1, 4, 4), window, size, "zeros")
        gradient = F.interpolate(corners, size=(size, size), mode="bilinear", align_corners=True)
        background = torch.where(kind == 0, corners[:, :, :1, :1].expand(n, 3, size, size), gradient)
        background = torch.where(kind >= 2, draw(behind.float() / 255, piece, size, "reflection"), background)
        new = drawn[:, :3] * opaque + background * (1 - opaque)
        views.append(torch.where(on_white[:, None, None, None], drawn[:, :3], new))
    return views


def light(views: list[torch.Tensor], weak: torch.Tensor) -> list[torch.Tensor]:
    """The same light on each size of the views, weaker where `weak` [N]: brightness, white balance, contrast, saturation,
    gamma, blur and noise. In -1..1."""
    n, force = len(views[0]), torch.where(weak, 0.6, 1.0)[:, None, None, None]
    one = (1, 1, 1)
    gain = (1 + uniform(n, -0.3, 0.3, *one) * force) * (1 + uniform(n, -0.1, 0.1, 3, 1, 1) * force)
    contrast, saturation = 1 + uniform(n, -0.3, 0.3, *one) * force, 1 + uniform(n, -0.35, 0.35, *one) * force
    gamma, noise = torch.exp(uniform(n, -0.25, 0.25, *one) * force), uniform(n, 0, 0.04, *one)
    blurred = (torch.rand(n, 1, 1, 1) < 0.15) & ~weak[:, None, None, None]
    lit = []
    for x in views:
        blur = F.interpolate(F.avg_pool2d(x, 2), size=x.shape[2:], mode="bilinear", align_corners=False)
        x = torch.where(blurred, blur, x).clamp(1e-4, 1) ** gamma * gain
        mean = x.mean((1, 2, 3), keepdim=True)
        x = (x - mean) * contrast + mean
        grey = x.mean(1, keepdim=True)
        x = (x - grey) * saturation + grey + torch.randn_like(x) * noise
        lit.append((x.clamp(0, 1) * 2 - 1).contiguous(memory_format=torch.channels_last))
    return lit
