"""Fine-tunes the builtin backbone on turntable pictures and photographs together, and writes it as ONNX.

    python train.py SOURCES --hold-out --out held_out.onnx     for the figures on kinds that it has not seen
    python train.py SOURCES --out builtin.onnx                 on all kinds: what is shipped
    python evaluate.py --fruitjob fruitjob --model builtin.onnx --input-size 128 --input-size 160 ...

SOURCES are the four options of sources.py, whose hashes are checked first. A seed, and one kind of machine: the run repeats
itself. 2,300 steps take four hours on two cores of 2026, or some minutes on a GPU; `--steps` makes it shorter.

The loss: labels (CosFace and supervised contrastive), for turntable and photographs each; the direction of an ImageNet
teacher's features of the same view at 224 pixels, by a linear map (Romero et al., FitNets, ICLR 2015), and how alike
the teacher finds the views of a batch. The teacher speaks of photographs and of other things, never of pictures before
white.
"""

import argparse
import math
import random
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

import imagenet
import sources
import views
from export import export
from network import Network

EMBEDDING, RESIZE, SIZES, TEACHER_SIZE = 256, 132, (96, 112, 128, 144), 224
KEPT = 180  # side of the square that a photograph is kept as
SCALE, MARGIN, TEMPERATURE = 20.0, 0.1, 0.1
PER_CLASS, TURNTABLE_CLASSES, PHOTOGRAPH_CLASSES, TAUGHT = 4, 24, 24, 96  # of a batch
TEACHING, ALIKENESS, LENGTH = 4.0, 2.0, 0.5  # shares of the loss
PACKAGES = 0.35  # how often a package is drawn, where fruit is 1
ON_WHITE = 0.5
RATE, DECAY, CLIP, AVERAGE = 0.08, 5e-5, 5.0, 0.998


class Pictures:
    """u8 [N, 3, side, side], squeezed into a square; with aspects [N, 2] and class numbers [N] (-1: of none)."""

    def __init__(self, files: list[tuple[Path, str | None]], side: int):
        pixels = np.empty((len(files), 3, side, side), np.uint8)
        aspects = np.empty((len(files), 2), np.float32)
        for i, (file, _) in enumerate(files):
            image = Image.open(file).convert("RGB")
            aspects[i] = np.array(image.size) / min(image.size)
            pixels[i] = np.asarray(image.resize((side, side), Image.BILINEAR)).transpose(2, 0, 1)
        self.classes = sorted({label for _, label in files if label is not None})
        number = {label: i for i, label in enumerate(self.classes)}
        self.labels = torch.tensor([number.get(label, -1) for _, label in files])
        self.pixels, self.aspects = torch.from_numpy(pixels), torch.from_numpy(aspects)
        self.of_class = [torch.nonzero(self.labels == c)[:, 0] for c in range(len(self.classes))]

    def some(self, weights: torch.Tensor, classes: int) -> torch.Tensor:
        """Indices of `PER_CLASS` pictures of each of some classes."""
        chosen = torch.multinomial(weights, min(classes, len(self.classes)))
        return torch.cat([members[torch.randint(0, len(members), (PER_CLASS,))] if len(members) < PER_CLASS
                          else members[torch.randperm(len(members))[:PER_CLASS]]
                          for members in (self.of_class[c] for c in chosen)])

    def views(self, indices: torch.Tensor, smallest: float, sizes: list[int]) -> list[torch.Tensor]:
        return views.photograph(self.pixels[indices], self.aspects[indices], smallest, sizes)


class Data:
    """What batches are drawn from."""

    def __init__(self, args: argparse.Namespace):
        self.fruit = Pictures(sources.fruits360(args.fruits360), 100)
        shops = sources.photographs(args.grocery, args.hold_out)
        packages = sources.packages(args.grocery)
        taught = sources.caltech(args.caltech) if args.caltech else []
        # The last ones have no class.
        self.photos = Pictures([*shops, *packages, *((file, None) for file in taught)], KEPT)
        boxes = {label for _, label in packages}
        self.weights = torch.tensor([PACKAGES if label in boxes else 1.0 for label in self.photos.classes])
        print(f"{len(self.fruit.labels)} turntable pictures of {len(self.fruit.classes)} classes; {len(shops)} photographs of "
              f"{len({label for _, label in shops})}, {len(packages)} of packages, {len(taught)} of other things", flush=True)

    def batch(self, size: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """The student's views [turntable, photographs, taught], the teacher's [photographs, taught], and the labels of the
        turntable's and of the photographs."""
        fruit = self.fruit.some(torch.ones(len(self.fruit.classes)), TURNTABLE_CLASSES)
        photos = self.photos.some(self.weights, PHOTOGRAPH_CLASSES)
        any_photo = lambda n: torch.randint(0, len(self.photos.labels), (n,))  # noqa: E731
        white = torch.rand(len(fruit)) < ON_WHITE
        [on_table] = views.turntable(self.fruit.pixels[fruit], [size], white, self.photos.pixels[any_photo(len(fruit))])
        [on_table] = views.light([on_table], white)
        sizes = [size, TEACHER_SIZE]
        n = TAUGHT // 4
        other = self.fruit.pixels[torch.randint(0, len(self.fruit.labels), (n,))]
        cut_out = views.turntable(other, sizes, torch.rand(n) < 0.2, self.photos.pixels[any_photo(n)])
        taught = [torch.cat(pair) for pair in zip(self.photos.views(any_photo(TAUGHT - n), 0.05, sizes), cut_out)]
        # MixUp (Zhang et al., ICLR 2018), of 60 %.
        order, share = torch.randperm(TAUGHT), views.uniform(TAUGHT, 0.5, 1, 1, 1, 1)
        share = torch.where(torch.rand(TAUGHT, 1, 1, 1) < 0.6, share, torch.ones(()))
        taught = [share * x + (1 - share) * x[order] for x in taught]
        both = [torch.cat(pair) for pair in zip(self.photos.views(photos, 0.2, sizes), taught)]
        small, large = views.light(both, torch.zeros(len(both[0]), dtype=torch.bool))
        return torch.cat([on_table, small]), large, self.fruit.labels[fruit], self.photos.labels[photos]


def by_labels(unit: torch.Tensor, weight: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """A cosine classifier with a margin (Wang et al., CosFace, CVPR 2018), and supervised contrastive loss (Khosla et al.,
    NeurIPS 2020)."""
    cosine = unit @ F.normalize(weight, dim=1).T
    classifier = F.cross_entropy(SCALE * (cosine - MARGIN * F.one_hot(labels, len(weight))), labels)
    itself = torch.eye(len(labels), dtype=torch.bool)
    same = (labels[:, None] == labels[None, :]) & ~itself
    similar = (unit @ unit.T / TEMPERATURE).masked_fill(itself, -1e9)
    log_share = similar - similar.logsumexp(1, keepdim=True)
    return classifier - 0.5 * ((log_share * same).sum(1) / same.sum(1).clamp(min=1)).mean()


def alike(unit: torch.Tensor, taught: torch.Tensor) -> torch.Tensor:
    """Kullback-Leibler divergence of how alike the views of a batch are, from how alike the teacher finds them."""
    itself = torch.eye(len(unit), dtype=torch.bool)
    want = (taught @ taught.T / TEMPERATURE).masked_fill(itself, -1e9).softmax(1)
    have = (unit @ unit.T / TEMPERATURE).masked_fill(itself, -1e9).log_softmax(1)
    return (want * ((want + 1e-9).log() - have).masked_fill(itself, 0)).sum(1).mean()


def train(args: argparse.Namespace) -> Network:
    for seed in (random.seed, np.random.seed, torch.manual_seed):
        seed(args.seed)
    torch.set_num_threads(args.threads)
    data, network, teacher = Data(args), imagenet.start(args.start, EMBEDDING), imagenet.teacher(args.teacher)
    network, teacher = (n.to(memory_format=torch.channels_last) for n in (network, teacher))
    with torch.no_grad():
        centre = teacher(data.batch(SIZES[0])[1]).mean(0)
    weights = [torch.nn.Parameter(torch.randn(len(p.classes), EMBEDDING) * 0.05) for p in (data.fruit, data.photos)]
    map_ = torch.nn.Parameter(torch.randn(EMBEDDING, len(centre)) * EMBEDDING ** -0.5)
    extra = [*weights, map_]
    optimizer = torch.optim.SGD([
        {"params": [p for p in network.parameters() if p.ndim > 1] + extra, "weight_decay": DECAY},
        {"params": [p for p in network.parameters() if p.ndim == 1], "weight_decay": 0.0},
    ], lr=RATE, momentum=0.9, nesterov=True)
    average = torch.optim.swa_utils.AveragedModel(
        network, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(AVERAGE), use_buffers=True)
    began, sums = time.time(), np.zeros(4)
    network.train()
    for step in range(args.steps):
        done = step / args.steps
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(1, done / 0.04 + 0.02) * (1 + math.cos(math.pi * done)) / 2
        x, large, fruit, photos = data.batch(random.choice(SIZES))
        with torch.no_grad():
            taught = F.normalize(teacher(large) - centre, dim=1)
        # Square roots, as the exported graph ends with them; 1e-4 keeps their slope finite.
        features = (network(x) + 1e-4).sqrt()
        length = features.norm(dim=1, keepdim=True)
        unit, a, b = features / (length + 1e-6), len(fruit), len(fruit) + len(photos)
        centred = F.normalize(unit[a:] - unit[a:].mean(0).detach(), dim=1)
        parts = torch.stack([
            by_labels(unit[:a], weights[0], fruit), by_labels(unit[a:b], weights[1], photos),
            (1 - F.cosine_similarity(features[a:] @ map_, taught)).mean(), alike(centred, taught),
        ])
        # Lengths are held near 1, since whoever uses the vectors compares them by L2.
        loss = (parts * torch.tensor([1, 1, TEACHING, ALIKENESS])).sum() + LENGTH * (length / EMBEDDING ** 0.5 - 1).square().mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_([*network.parameters(), *extra], CLIP)
        optimizer.step()
        average.update_parameters(network)
        sums += parts.detach().numpy()
        if (step + 1) % args.every == 0:
            names = ("turntable", "photographs", "teacher", "alikeness")
            said = ", ".join(f"{name} {value / args.every:.3f}" for name, value in zip(names, sums))
            print(f"step {step + 1} of {args.steps}, {time.time() - began:.0f} s: {said}", flush=True)
            sums[:] = 0
    return average.module.eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sources.arguments(parser)
    parser.add_argument("--teacher", type=Path, default=Path(__file__).parent.parent / "models" / "mobilenet_v2.onnx")
    parser.add_argument("--hold-out", action="store_true", help="without the kinds that the figures on unseen fruit are of")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=2300)
    parser.add_argument("--every", type=int, default=100, help="steps between two lines of progress")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    sources.check(args.fruits360, args.grocery, args.caltech, args.start)
    network = train(args)
    export(network, 128, RESIZE, args.out, f"fine-tuned by train.py, seed {args.seed}, {args.steps} steps; see MODEL_CARD.md")
    print(f"{args.out.name}: {args.out.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
