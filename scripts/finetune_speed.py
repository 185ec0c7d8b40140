"""Measure how much faster an epoch of fine-tuning is from cached maps than end to end.

    python scripts/finetune_speed.py [--conv-base vgg16] [--images 256] [--precision float32,bfloat16]

Both ways train the same layers and the same head with the same loop, batches, loss and optimiser on
the same images. Their epochs alternate. End to end training gets decoded images in memory, which
favours it; the maps are read from a store on disk. The weights are random, which does not change
the time.
"""

import argparse
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pipeline import ConvBaseSpec, extract_features, make_head, scan_images
from pipeline.cli.console import start_tensorflow_quietly
from pipeline.cli.exit import one_line_errors

RATE = 1e-5


def write_images(folder: Path, n: int, size: int) -> np.ndarray:
    """Write `n` images of noise in two class folders.

    Returns
    -------
    ndarray of shape (n, size, size, 3), float32
        Their pixels, in the order of a scan.
    """
    pixels = np.random.default_rng(0).integers(0, 256, (n, size, size, 3), dtype=np.uint8)
    for number, image in enumerate(pixels):
        path = folder / f"class_{number * 2 // n}" / f"{number:05d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    return pixels.astype(np.float32)


class Ways:
    """The two ways at one precision, with the same initial weights and the same batches."""

    def __init__(self, folder: Path, pixels: np.ndarray, spec: ConvBaseSpec, batch_size: int, cache: Path):
        from pipeline.conv_base.load import load_conv_base
        from pipeline.conv_base.load_top_layers import load_top_layers
        from pipeline.heads.batches import LabelledRows
        from pipeline.heads.compiled_network import CompiledNetwork
        from pipeline.heads.dense_network import build_network, join_models

        start = time.perf_counter()
        self.store = extract_features(scan_images(folder, validation=0), cache, spec)
        self.feature_seconds = time.perf_counter() - start
        maps, y = self.store.on_demand()
        lower = load_conv_base(self.store.spec).model
        targets, weights = y[:, None].astype(np.float32), np.ones(len(y), np.float32)
        self.networks = {}
        for way, X in (("cache", maps), ("end to end", pixels)):
            rng = np.random.default_rng(0)
            top_layers = load_top_layers(self.store.spec)
            head = build_network(tuple(top_layers.output_shape[1:]), 2, make_head("dense").units, 0.0, rng)
            model = join_models(top_layers, head)
            forward = _forward(model, lower if way == "end to end" else None)
            network = CompiledNetwork(model, RATE, batch_size, forward)
            network.row_shape = X.shape[1:]
            self.networks[way] = network, LabelledRows(X, rng.permutation(len(y)), targets, weights)

    def epoch(self, way: str) -> float:
        """Train for an epoch and return its seconds."""
        network, data = self.networks[way]
        start = time.perf_counter()
        network.run("train", data)
        return time.perf_counter() - start


def _forward(model: Any, lower: Any) -> Any:
    top_layers, head = model.get_layer("upper"), model.get_layer("dense_head")

    def forward(rows: Any, training: bool) -> Any:
        maps = rows if lower is None else lower(rows, training=False)
        return head(top_layers(maps, training=False), training=training)

    return forward


def compare(ways: Ways, rounds: int) -> dict[str, list[float]]:
    """Return the seconds of `rounds` epochs of both ways; epochs alternate, the first of each is not counted."""
    seconds: dict[str, list[float]] = {way: [] for way in ways.networks}
    for number in range(rounds + 1):
        for way, measured in seconds.items():
            measured.append(ways.epoch(way))
        print(f"  round {number}: " + ", ".join(f"{way} {s[-1]:.2f} s" for way, s in seconds.items()), file=sys.stderr)
    return {way: measured[1:] for way, measured in seconds.items()}


def main() -> None:
    """Measure, and print a Markdown table."""
    parser = argparse.ArgumentParser(description="Time an epoch of fine-tuning from the cache and end to end.")
    parser.add_argument("--conv-base", default="vgg16")
    parser.add_argument("--cut", default="top1")
    parser.add_argument("--size", type=int, default=150)
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--precision", default="float32,bfloat16")
    options = parser.parse_args()
    start_tensorflow_quietly()
    print(f"{options.conv_base} at {options.size}x{options.size}, {options.images} images, batches of", end=" ")
    print(f"{options.batch_size}, median of {options.rounds} epochs each\n")
    print("| precision | cut | features, once | epoch end to end | epoch from the cache | times faster |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as work:
        pixels = write_images(Path(work, "photos"), options.images, options.size)
        spec = ConvBaseSpec(options.conv_base, weights="random", size=options.size, cut=options.cut)
        for precision in options.precision.split(","):
            cache = Path(work, precision)
            ways = Ways(Path(work, "photos"), pixels, replace(spec, precision=precision), options.batch_size, cache)
            seconds = compare(ways, options.rounds)
            ratios = [end / cached for end, cached in zip(seconds["end to end"], seconds["cache"], strict=True)]
            times = f"{statistics.median(ratios):.1f} ({min(ratios):.1f} to {max(ratios):.1f})"
            epochs = [f"{statistics.median(seconds[way]):.2f} s" for way in ("end to end", "cache")]
            cells = [precision, ways.store.spec.cut, f"{ways.feature_seconds:.1f} s", *epochs, times]
            print(f"| {' | '.join(map(str, cells))} |", flush=True)


if __name__ == "__main__":
    with one_line_errors("finetune_speed"):
        main()
