"""Measure what `decode="scaled"` would save, on some of the images that are about to be decoded exactly."""

import time
from contextlib import suppress
from dataclasses import replace
from itertools import islice

from pipeline.conv_base.spec import ConvBaseSpec
from pipeline.extraction.decode_ahead import list_tasks, read_image
from pipeline.extraction.plan import ExtractionPlan
from pipeline.images.decode import DecodeError, is_shrunk

MIN_PENDING = 200  # images; on fewer, measuring costs about as much as scaled decoding would save
MAX_SAMPLE, MAX_MEASURED = 16, 4  # images whose headers are read, and photos of them that are decoded both ways
MIN_GAIN = 1.5  # times faster


def measure_scaled_decoding(plan: ExtractionPlan, spec: ConvBaseSpec) -> tuple[float, float] | None:
    """Return the seconds to decode a photo exactly, and scaled; None if scaled decoding would save little.

    It saves little if few images are pending, or if most of the first ones are not large JPEGs.
    """
    if spec.decode != "exact" or plan.rows_pending < MIN_PENDING:
        return None
    scaled = replace(spec, decode="scaled")
    sample, large = list(islice(list_tasks(plan.index, plan.pending), MAX_SAMPLE)), 0
    seconds: list[tuple[float, float]] = []
    for task in sample:
        with suppress(DecodeError):  # a bad image is reported when its features are computed
            data = read_image(task.path)
            if is_shrunk(data, scaled.decoded_at_least):
                large += 1
                if len(seconds) < MAX_MEASURED:
                    seconds.append((_time_decoding(spec, data), _time_decoding(scaled, data)))
    if not seconds or 2 * large <= len(sample):
        return None
    exact_mean, scaled_mean = (sum(column) / len(seconds) for column in zip(*seconds, strict=True))
    return (exact_mean, scaled_mean) if exact_mean >= MIN_GAIN * scaled_mean else None


def _time_decoding(spec: ConvBaseSpec, data: bytes) -> float:
    start = time.perf_counter()
    spec.decode_image(data)
    return time.perf_counter() - start
