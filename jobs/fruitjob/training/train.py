"""Trains the builtin backbone from scratch and writes it as ONNX.

    python train.py --data fruits360 --out builtin.onnx --width 0.35 --embedding 256

`--data` holds `Training/<Class>/*.jpg` of Fruits-360; `Test` is not looked at. The held-out classes are never seen, so
that `evaluate.py` can say what the vectors are worth on fruit that is new. With `--teacher`, an ImageNet
backbone shows, beside the labels, how alike the training images are (distillation). One CPU thread and a seed: on one
kind of machine the run repeats itself. What it prints is kept beside the model card.
"""

import argparse
import math
import time
from pathlib import Path

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from onnx import numpy_helper
from PIL import Image

from evaluate import featurize, held_out
from export import export
from network import Network

CROP, IMAGE = 96, 100
SCALE, MARGIN = 20.0, 0.1  # of the cosine classifier (CosFace)
TEMPERATURE = 0.1  # of the contrastive loss
TEACHING = 4.0  # the teacher's share of the loss
PER_CLASS, CLASSES_A_BATCH = 4, 32


def load(root: Path) -> tuple[list[Path], torch.Tensor, torch.Tensor, list[str]]:
    """Files, images u8 [N, 3, 100, 100] and class numbers [N] of the classes that training may see."""
    classes = sorted(p.name for p in (root / "Training").iterdir() if p.is_dir())
    classes = [c for c in classes if c not in held_out(classes)]
    files = [(f, i) for i, c in enumerate(classes) for f in sorted((root / "Training" / c).glob("*.jpg"))]
    images = np.stack([np.asarray(Image.open(f).convert("RGB")) for f, _ in files])
    labels = torch.tensor([i for _, i in files])
    return [f for f, _ in files], torch.from_numpy(images).permute(0, 3, 1, 2), labels, classes


def uniform(n: int, low: float, high: float, *shape: int) -> torch.Tensor:
    return torch.empty(n, *(shape or (1, 1, 1))).uniform_(low, high)


def backgrounds(images: torch.Tensor, size: int) -> torch.Tensor:
    """A background each: plain, a gradient, soft blotches, or a piece of another photograph. [N, 3, size, size]"""
    n = len(images)
    corners = torch.rand(n, 3, 2, 2)
    plain = corners[:, :, :1, :1].expand(n, 3, size, size)
    gradient = F.interpolate(corners, size=(size, size), mode="bilinear", align_corners=True)
    blotches = F.interpolate(torch.rand(n, 3, 5, 5), size=(size, size), mode="bicubic").clamp(0, 1)
    piece = images[torch.randperm(n), :, 30:70, 30:70].flip(3)
    piece = F.interpolate(piece, size=(size, size), mode="bilinear")
    kind = torch.randint(0, 4, (n, 1, 1, 1))
    return torch.where(kind == 0, plain, torch.where(kind == 1, gradient, torch.where(kind == 2, blotches, piece)))


def augment(images: torch.Tensor, size: int) -> torch.Tensor:
    """u8 [N, 3, 100, 100] -> [N, 3, size, size] in -1..1: turned, scaled, moved, before another background, in
    another light."""
    n = len(images)
    x = images.float() / 255
    # The studio's background is white: how much a pixel is not.
    opaque = ((252 / 255 - x.amin(1, keepdim=True)) * 12).clamp(0, 1)

    turn = torch.where(torch.rand(n) < 0.3, torch.empty(n).uniform_(-math.pi, math.pi), torch.randn(n) * 0.1)
    zoom = torch.exp(torch.empty(n).uniform_(-0.2, 0.2)) * CROP / IMAGE
    mirror = torch.where(torch.rand(n) < 0.5, 1.0, -1.0)
    cos, sin, move = torch.cos(turn) * zoom, torch.sin(turn) * zoom, torch.empty(n, 2).uniform_(-0.08, 0.08)
    theta = torch.stack([torch.stack([cos * mirror, -sin, move[:, 0]], 1),
                         torch.stack([sin * mirror, cos, move[:, 1]], 1)], 1)
    grid = F.affine_grid(theta, [n, 4, size, size], align_corners=False)
    warped = F.grid_sample(torch.cat([x, opaque], 1), grid, padding_mode="border", align_corners=False)
    fruit, opaque = warped[:, :3], warped[:, 3:]
    new = fruit * opaque + backgrounds(x, size) * (1 - opaque)
    x = torch.where(torch.rand(n, 1, 1, 1) < 0.3, new, fruit)

    x = x * uniform(n, 0.85, 1.15) * uniform(n, 0.96, 1.04, 3, 1, 1)
    mean = x.mean((1, 2, 3), keepdim=True)
    x = (x - mean) * uniform(n, 0.85, 1.15) + mean
    grey = x.mean(1, keepdim=True)
    x = (x - grey) * uniform(n, 0.8, 1.2) + grey
    x = x + torch.randn_like(x) * uniform(n, 0, 0.03)
    return (x.clamp(0, 1) * 2 - 1).contiguous(memory_format=torch.channels_last)


def batches(labels: torch.Tensor, generator: torch.Generator):
    """One epoch of batches of CLASSES_A_BATCH classes, PER_CLASS images each."""
    by_class = [torch.nonzero(labels == c)[:, 0] for c in range(int(labels.max()) + 1)]
    for _ in range(len(labels) // (PER_CLASS * CLASSES_A_BATCH)):
        chosen = torch.randperm(len(by_class), generator=generator)[:CLASSES_A_BATCH]
        yield torch.cat([by_class[c][torch.randperm(len(by_class[c]), generator=generator)[:PER_CLASS]]
                         for c in chosen])


def distil(features: torch.Tensor, projection: torch.Tensor, taught: torch.Tensor) -> torch.Tensor:
    """How far a linear map of the features is from the teacher's direction (Romero et al., FitNets, ICLR 2015)."""
    return (1 - F.cosine_similarity(features @ projection, taught)).mean()


def losses(features: torch.Tensor, weight: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Cosine classifier with a margin (Wang et al., CosFace, CVPR 2018), and supervised contrastive loss (Khosla et
    al., NeurIPS 2020). Lengths are held near 1, since whoever uses the vectors compares them by L2."""
    length = features.norm(dim=1, keepdim=True)
    unit = features / (length + 1e-6)
    cosine = unit @ F.normalize(weight, dim=1).T
    classifier = F.cross_entropy(SCALE * (cosine - MARGIN * F.one_hot(labels, len(weight))), labels)
    same = labels[:, None] == labels[None, :]
    self_ = torch.eye(len(labels), dtype=torch.bool)
    similar = (unit @ unit.T / TEMPERATURE).masked_fill(self_, -1e9)
    log_share = similar - similar.logsumexp(1, keepdim=True)
    contrastive = -(log_share * (same & ~self_)).sum(1).div(PER_CLASS - 1).mean()
    return classifier + 0.5 * contrastive + 0.5 * (length / features.shape[1] ** 0.5 - 1).square().mean()


@torch.no_grad()
def go_on_from(path: Path, network: Network, images: torch.Tensor) -> None:
    """Takes the weights of an exported model: batch norm, which is folded in there, is made anew from what it sees."""
    weights = {t.name: numpy_helper.to_array(t).astype(np.float32) for t in onnx.load(path).graph.initializer}
    names = [name[: -len(".weight.f16")] for name in weights if name.endswith(".weight.f16")]
    layers = [m for m in network.modules() if isinstance(m, torch.nn.Sequential) and isinstance(m[0], torch.nn.Conv2d)]
    seen: dict[int, torch.Tensor] = {}
    for i, (name, layer) in enumerate(zip(names, layers, strict=True)):
        layer[0].weight.copy_(torch.from_numpy(weights[f"{name}.weight.f16"]))
        layer[1].bias.copy_(torch.from_numpy(weights[f"{name}.bias.f16"]))
        torch.nn.init.constant_(layer[1].running_var, 1 - layer[1].eps)
        layer[0].register_forward_hook(lambda _m, _i, output, i=i: seen.__setitem__(i, output))
    network.eval()(augment(images[torch.randperm(len(images))[:512]], CROP))
    for i, layer in enumerate(layers):
        norm, mean, variance = layer[1], seen[i].mean((0, 2, 3)), seen[i].var((0, 2, 3))
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance)
        norm.weight.copy_(torch.sqrt(variance + norm.eps))
        norm.bias.add_(mean)
        layer[0]._forward_hooks.clear()


def train(args: argparse.Namespace) -> Network:
    torch.manual_seed(args.seed)
    torch.set_num_threads(args.threads)
    generator = torch.Generator().manual_seed(args.seed)
    files, images, labels, classes = load(args.data)
    taught = torch.from_numpy(featurize(args.teacher, files)) if args.teacher else torch.zeros(len(files), 1)
    taught = F.normalize(taught - taught.mean(0), dim=1)
    numbers = {k: v for k, v in vars(args).items() if not isinstance(v, Path)}
    print(f"{len(images)} images of {len(classes)} classes; torch {torch.__version__}; {numbers}", flush=True)
    network = Network(args.width, args.embedding).to(memory_format=torch.channels_last)
    if args.start:
        go_on_from(args.start, network, images)
    weight = torch.nn.Parameter(torch.randn(len(classes), args.embedding) * 0.05)
    projection = torch.nn.Parameter(torch.randn(args.embedding, taught.shape[1]) * args.embedding ** -0.5)
    print(f"{network.multiply_adds(CROP) / 1e6:.1f} M multiply-adds at {CROP}x{CROP}, "
          f"{sum(p.numel() for p in network.parameters()):,} parameters", flush=True)
    decay = [p for p in network.parameters() if p.ndim > 1] + [weight, projection]
    rest = [p for p in network.parameters() if p.ndim == 1]
    groups = [{"params": decay, "weight_decay": 1e-4}, {"params": rest, "weight_decay": 0.0}]
    optimizer = torch.optim.SGD(groups, lr=args.rate, momentum=0.9, nesterov=True)
    steps_an_epoch = len(labels) // (PER_CLASS * CLASSES_A_BATCH)
    steps = steps_an_epoch * args.epochs
    average = torch.optim.swa_utils.AveragedModel(
        network, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.998), use_buffers=True)
    step, start = 0, time.time()
    for epoch in range(args.epochs):
        # Small images first: most is learnt from them, at less than half the price.
        size = CROP if epoch >= args.epochs - args.full_size_epochs else 64
        network.train()
        sum_ = 0.0
        for batch in batches(labels, generator):
            rate = args.rate * min(1, step / (2 * steps_an_epoch)) * (1 + math.cos(math.pi * step / steps)) / 2
            for group in optimizer.param_groups:
                group["lr"] = rate
            features = network(augment(images[batch], size))
            loss = losses(features, weight, labels[batch])
            if args.teacher:
                loss = loss + TEACHING * distil(features, projection, taught[batch])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_([*network.parameters(), weight, projection], 5.0)
            optimizer.step()
            average.update_parameters(network)
            sum_ += loss.item()
            step += 1
        print(f"epoch {epoch + 1}/{args.epochs} {size}px rate {rate:.4f} loss {sum_ / steps_an_epoch:.3f} "
              f"{time.time() - start:.0f} s", flush=True)
    return average.module.eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--teacher", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--start", type=Path, help="an exported model to go on from")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--width", type=float, default=0.35)
    parser.add_argument("--embedding", type=int, default=256)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--full-size-epochs", type=int, default=10)
    parser.add_argument("--rate", type=float, default=0.2)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    network = train(args)
    export(network, CROP, IMAGE, args.out, f"trained from scratch on Fruits-360 (MIT); seed {args.seed}")
    print(f"{args.out.name}: {args.out.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
