"""Time decoding, and stage one with a conv base that is loaded already."""

import itertools
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest import mock

from pipeline import Callbacks, ConvBaseSpec, FeatureStore, ImageTable, extract_features
from pipeline.extraction.conv_base_loading import AnyConvBase, ConvBaseDescription
from pipeline.extraction.local_engine import LocalEngine
from pipeline.extraction.plan import ExtractionPlan

DECODED = 256  # images for each core


def decode_rate(images: ImageTable, spec: ConvBaseSpec, cores: int = 1) -> float:
    """Return the images/s of decoding, in a thread for each of `cores`."""
    paths = list(itertools.islice(map(Path, images.paths), DECODED * cores))
    with ThreadPoolExecutor(cores) as pool:
        start = time.perf_counter()
        for _ in pool.map(lambda path: spec.decode_image(path.read_bytes()), paths):
            pass
        return len(paths) / (time.perf_counter() - start)


def run_stage_one(images: ImageTable, conv_base: AnyConvBase, cache: Path) -> float:
    """Return the seconds of stage one after its planning, with a conv base that is loaded and traced."""
    watch = StopWatch()
    described = ConvBaseDescription.of(conv_base)
    with (
        mock.patch("pipeline.conv_base.load.load_conv_base", lambda spec: conv_base),
        mock.patch.object(LocalEngine, "settle_precision", lambda *_: described),
    ):
        extract_features(images, cache, conv_base.spec, callbacks=watch)
    seconds = time.perf_counter() - watch.start
    shutil.rmtree(cache)
    return seconds


class StopWatch(Callbacks):
    """Records when the computation begins, after the work that is done once per store."""

    start = 0.0

    def extraction_planned(self, plan: ExtractionPlan, store: FeatureStore) -> None:
        """Record the time."""
        self.start = time.perf_counter()
