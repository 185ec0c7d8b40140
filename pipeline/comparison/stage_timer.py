"""`StageTimer`: measure the speed of stage one while it runs."""

import time
from dataclasses import dataclass

import numpy as np

from pipeline.conv_base.keras_setup import import_keras
from pipeline.conv_base.spec import ConvBaseSpec
from pipeline.extraction.callbacks import Callbacks

MIN_IMAGES = 64  # below, the time of all images is taken, the warm-up included
WARM_UP = 128  # images at the beginning that are not measured, or a third of all
WINDOW = 32  # images, about a batch, over which the time of an image is measured


@dataclass(frozen=True)
class Timing:
    """The speed of stage one.

    `ms` is the median time of an image and `seconds_per_image` the mean, both after the warm-up, the mean with the
    writing of shards. `start_seconds` are lost once for a new store, to load, quantise and trace the conv base, and
    `restart_seconds` each time that the store is continued.
    """

    ms: float
    seconds_per_image: float
    start_seconds: float
    restart_seconds: float

    def seconds_for(self, images: int) -> float:
        """Estimate the seconds to continue a store with so many images."""
        return self.restart_seconds + images * self.seconds_per_image if images else 0.0

    def seconds_of_all(self, images: int, first: int) -> float:
        """Estimate the seconds of a new store of `images` images, of which `first` are computed in a run before."""
        return self.start_seconds + first * self.seconds_per_image + self.seconds_for(images - first)


class StageTimer(Callbacks):
    """Times one call of `extract_features` and passes on to `callbacks` what a comparison shows of it."""

    def __init__(self, callbacks: Callbacks):
        self.callbacks = callbacks
        self.start = time.perf_counter()
        self.times: list[float] = []  # when each image was computed
        self.begin: float | None = None  # when the first image could be
        self.quantizing_at: float | None = None

    def progress(self, step: str, done: int, total: int, unit: str) -> None:
        self.callbacks.progress(step, done, total, unit)
        if step == "features":
            now = time.perf_counter()
            self.begin = self.begin or now
            self.times += [now] * (done - len(self.times))

    def conv_base_loading(self, spec: ConvBaseSpec) -> None:
        start = time.perf_counter()
        self.callbacks.conv_base_loading(spec)
        import_keras()  # once in a process; not a cost of this spec
        self.start += time.perf_counter() - start

    def quantizing(self, images: int) -> None:
        self.quantizing_at = time.perf_counter()
        self.callbacks.quantizing(images)

    def image_rejected(self, id: str, reason: str) -> None:
        self.callbacks.image_rejected(id, reason)

    def seconds(self) -> float:
        """Return the seconds since the start."""
        return time.perf_counter() - self.start

    def timing(self, seconds: float) -> Timing | None:
        """Return the speed of a call that filled a new store in `seconds`; None if no image was computed."""
        n = len(self.times)
        if not n or self.begin is None:
            return None
        loading, times = self.begin - self.start, np.array(self.times) - self.start
        if n < MIN_IMAGES:
            per_image = (seconds - loading) / n
            return Timing(1000 * per_image, per_image, loading, loading)
        skip = min(WARM_UP, n // 3 // WINDOW * WINDOW or WINDOW)
        window = min(WINDOW, n - skip)
        durations = times[skip - 1 + window :] - times[skip - 1 : n - window]
        per_image = float(seconds - times[skip - 1]) / (n - skip)
        once = max(seconds - n * per_image, 0.0)
        # The conv base of a store in int8 is quantised once, and loaded from the store afterwards.
        repeated = once if self.quantizing_at is None else max(once - loading, 0.0)
        return Timing(1000 * float(np.median(durations)) / window, per_image, once, repeated)
