"""What `fruitctl recognise` calls unlike anything in a run's results: a row of docs/howto/recognise.md's table each.

    python unlike.py --fruitctl ../../../target/release/fruitctl --output OUT FOLDER...

OUT holds the results of a run over labelled images. Each FOLDER has images, one folder a label. Prints how many there are, how
many have their folder's name as the nearest row's label, how many are called unlike, and how many of those that are right.

    python unlike.py --draw FOLDER

draws 400 pictures that are of no thing: pages of text, charts, textures, bright blobs.
"""

import argparse
import json
import random
import subprocess
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

WORDS = "the of run results picture vector network job cluster night report table label model server page error file".split()
COLOURS = ["#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd"]


def page(rng: np.random.Generator, dice: random.Random) -> Image.Image:
    image = Image.new("RGB", (600, 800), tuple(int(x) for x in rng.integers(235, 256, 3)))
    draw, y = ImageDraw.Draw(image), 40
    while y < 760:
        x = 50
        while x < 540:
            word = dice.choice(WORDS)
            draw.text((x, y), word, fill=(30, 30, 30))
            x += 7 * len(word) + 7
        y += dice.choice([14, 16, 28])
    return image.rotate(dice.uniform(-2, 2), fillcolor=(240, 240, 240))


def chart(rng: np.random.Generator, dice: random.Random) -> Image.Image:
    image = Image.new("RGB", (640, 480), "white")
    draw = ImageDraw.Draw(image)
    draw.line((60, 20, 60, 440, 620, 440), fill="black", width=2)
    kind = dice.choice(["bars", "lines", "points"])
    if kind == "bars":
        number = dice.randint(4, 12)
        for i in range(number):
            height, x = dice.randint(20, 400), 70 + i * 540 // number
            draw.rectangle((x, 440 - height, x + 400 // number, 440), fill=dice.choice(COLOURS))
    elif kind == "lines":
        for colour in dice.sample(COLOURS, 3):
            heights = np.clip(np.cumsum(rng.normal(0, 15, 60)) + 230, 30, 430)
            draw.line([(60 + i * 9, float(height)) for i, height in enumerate(heights)], fill=colour, width=3)
    else:
        for _ in range(200):
            x, y = rng.normal(320, 90), rng.normal(230, 70)
            draw.ellipse((x - 4, y - 4, x + 4, y + 4), fill=dice.choice(COLOURS))
    return image


def texture(rng: np.random.Generator, _: random.Random) -> Image.Image:
    size = int(2 ** rng.uniform(1, 6))
    noise = rng.random((256 // size + 2, 256 // size + 2, 3))
    return Image.fromarray((noise * 255).astype("uint8")).resize((300, 300), Image.Resampling.BICUBIC)


def blobs(rng: np.random.Generator, dice: random.Random) -> Image.Image:
    light, (y, x) = np.zeros((300, 300)), np.mgrid[:300, :300]
    for _ in range(dice.randint(20, 60)):
        centre, radius = rng.uniform(0, 300, 2), rng.uniform(5, 25)
        light += np.exp(-((x - centre[0]) ** 2 + (y - centre[1]) ** 2) / (2 * radius ** 2)) * rng.uniform(0.2, 0.6)
    light = np.clip(light, 0, 1) * 200 + rng.normal(0, 10, (300, 300))
    return Image.fromarray(np.clip(light, 0, 255).astype("uint8")).convert("RGB")


def draw_all(folder: Path) -> None:
    rng, dice = np.random.default_rng(1), random.Random(1)
    for number in range(100):
        for name, kind in (("pages", page), ("charts", chart), ("textures", texture), ("blobs", blobs)):
            (folder / name).mkdir(parents=True, exist_ok=True)
            kind(rng, dice).save(folder / name / f"{number:03}.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fruitctl", type=Path)
    parser.add_argument("--output")
    parser.add_argument("--draw", type=Path)
    parser.add_argument("folders", type=Path, nargs="*")
    args = parser.parse_args()
    if args.draw:
        draw_all(args.draw)
        return
    if not (args.fruitctl and args.output and args.folders):
        parser.error("--fruitctl, --output and folders, or --draw")
    print("| images | number | right | unlike | of those that are right |\n|---|---|---|---|---|")
    for folder in args.folders:
        words = [str(args.fruitctl), "recognise", "--json", "--output", args.output, str(folder)]
        done = subprocess.run(words, capture_output=True, text=True)
        if done.returncode not in (0, 6):
            raise SystemExit(done.stderr)
        said = [row for row in map(json.loads, done.stdout.splitlines()) if row["error"] is None]
        right = [row for row in said if row["nearest"][0]["label"] == Path(row["image"]).parent.name]

        def percent(rows: list, of: list) -> str:
            return f"{100 * len(rows) / max(len(of), 1):.1f}"

        unlike = [row for row in said if row["unlike"]]
        print("| " + " | ".join([folder.name, f"{len(said):,}", percent(right, said), percent(unlike, said),
                                 percent([row for row in right if row["unlike"]], right)]) + " |", flush=True)


if __name__ == "__main__":
    main()
