"""The sizes of all measurements."""

from __future__ import annotations

from dataclasses import dataclass

GROWTH = (1_000, 4_000, 10_000, 25_000, 100_000, 1_000_000)  # images
PHOTOS_TO_TRAIN_ON = 20_066  # of 25,000
BATCH_OF_SPLITS = 160  # images: 128 for training and 32 for validation, whole batches in both splits


@dataclass(frozen=True)
class Sizes:
    """Sizes of all measurements; with the defaults, the bench takes less than ten minutes on two cores.

    Attributes
    ----------
    photos : int
        Number of photos, synthetic or the user's own.
    subset : int
        Number of these photos that the whole job is measured on.
    large_photos : int
        Number of these photos that are enlarged to measure decoding.
    large_photo : (int, int)
        Their width and height in pixels.
    side : int
        Height and width of the conv base's input in pixels.
    seconds : float
        Intended seconds of one pass of the photos through the conv base; fewer if there are few photos.
    rounds : int
        How often each of the things that are compared is measured.
    rows, validation_rows : int
        Rows of features that the dense head is trained and scored on.
    search_rows : int
        Rows of features for the grid search.
    pooled_rows : int
        Rows of pooled features that the scikit-learn heads are trained on: with scale 4 and more, the train images
        of 25,000 photos.
    stored_rows : int
        Rows of the store that is read.
    growth : tuple of int
        Numbers of tiny images that stage one is run on.
    planned : int
        Number of simulated images that are scanned and planned.
    workers : tuple of int
        Numbers of workers that share a run.
    images_per_worker : int
        Images of such a run for each worker.
    sleep : float
        Seconds that a conv base sleeps for each image.
    matrix : int
        Rows and columns of the plain matrix product.
    precisions : tuple of str
        Float precisions of the conv base: float32 and the one that `auto` resolves to.
    mobilenet_side : int
        Height and width of the input of MobileNetV2 in pixels.
    """

    photos: int = 640
    subset: int = 320
    large_photos: int = 8
    large_photo: tuple[int, int] = (4000, 3000)
    side: int = 150
    seconds: float = 4.0
    rounds: int = 3
    rows: int = 20_000
    validation_rows: int = 5_000
    search_rows: int = 4_000
    pooled_rows: int = 5_017
    stored_rows: int = 8_192
    growth: tuple[int, ...] = GROWTH[:-1]
    planned: int = 1_000_000
    workers: tuple[int, ...] = (2, 8, 32, 100)
    images_per_worker: int = 10_000
    sleep: float = 0.005
    matrix: int = 3_072
    precisions: tuple[str, ...] = ("float32",)
    mobilenet_side: int = 224

    @classmethod
    def scaled(cls, scale: float) -> Sizes:
        """Return the default sizes times `scale`; sizes that a goal depends on never grow."""
        step = BATCH_OF_SPLITS if scale >= 0.5 else 10  # at least both classes in both splits
        subset = max(20, round(cls.subset * scale / step) * step)
        at_most_1 = min(scale, 1.0)
        return cls(
            photos=max(round(cls.photos * scale), subset),
            subset=subset,
            seconds=cls.seconds * scale,
            rows=max(640, round(cls.rows * at_most_1)),
            validation_rows=max(160, round(cls.validation_rows * at_most_1)),
            search_rows=max(200, round(cls.search_rows * at_most_1)),
            pooled_rows=max(200, min(PHOTOS_TO_TRAIN_ON, round(cls.pooled_rows * scale))),
            stored_rows=max(512, round(cls.stored_rows * scale)),
            planned=max(2_000, round(cls.planned * at_most_1)),
            growth=tuple(n for n in GROWTH if n <= max(scale * cls.growth[-1], GROWTH[1])),
        )
