"""A photograph of 12 megapixels, and Pillow's decoding of it for 100 pixels: milliseconds of CPU.

    python draft.py make FILE.jpg
    python draft.py time FILE.jpg ROUNDS
"""

import sys
import time

import numpy as np
from PIL import Image

WIDTH, HEIGHT = 4000, 3000


def make(path: str) -> None:
    """Noise of six sizes: about as many bytes as a phone's photograph has."""
    rng = np.random.default_rng(1)
    pixels = np.full((HEIGHT, WIDTH, 3), 128.0)
    for octave in range(1, 7):
        size = 2**octave
        noise = rng.normal(128, 10 * octave**0.7, (HEIGHT // size + 2, WIDTH // size + 2, 3)).clip(0, 255)
        large = Image.fromarray(noise.astype(np.uint8)).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
        waves = np.asarray(large, dtype=float) - 128
        pixels += 0.8 * waves.mean(axis=2, keepdims=True) + 0.3 * waves
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path, quality=85)


def main() -> None:
    if sys.argv[1] == "make":
        return make(sys.argv[2])
    for _ in range(int(sys.argv[3])):
        start = time.process_time()
        with Image.open(sys.argv[2]) as image:
            image.draft("RGB", (200, 200))
            image.load()
        print(1000 * (time.process_time() - start))


if __name__ == "__main__":
    main()
