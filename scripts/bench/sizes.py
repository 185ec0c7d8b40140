"""How much is measured, and in what."""

from __future__ import annotations

from dataclasses import dataclass

GROWTH = (1_000, 4_000, 10_000, 25_000, 100_000, 1_000_000)  # images
BATCH_OF_SPLITS = 160  # images: 128 and 32, whole batches on either side of 80 : 20


@dataclass(frozen=True)
class Sizes:
    """Sizes at which all parts together take less than ten minutes on two cores.

    Attributes
    ----------
    photos : int
        Made, or drawn from the user's own.
    subset : int
        Of them, for the whole job.
    side : int
        Height and width of the conv base's input.
    seconds : float
        How long one pass through the conv base is to take, as far as there are photos for it.
    rounds : int
        How often things that are compared are measured in turn.
    rows, validation_rows : int
        Of features for the dense head.
    search_rows : int
        Of features for the grid search.
    stored_rows : int
        Of features in the store that is read.
    growth : tuple of int
        Numbers of tiny images.
    matrix : int
        Rows and columns of the plain matrix product.
    precisions : tuple of str
        What the conv base computes in: float32, and what `auto` settles on where that is another.
    """

    photos: int = 640
    subset: int = 320
    side: int = 150
    seconds: float = 4.0
    rounds: int = 3
    rows: int = 20_000
    validation_rows: int = 5_000
    search_rows: int = 4_000
    stored_rows: int = 8_192
    growth: tuple[int, ...] = GROWTH[:-1]
    matrix: int = 3_072
    precisions: tuple[str, ...] = ("float32",)

    @classmethod
    def scaled(cls, scale: float) -> Sizes:
        """The default sizes times `scale`; those that a goal names only become smaller."""
        step = BATCH_OF_SPLITS if scale >= 0.5 else 10  # the least that keeps both classes in both splits
        subset = max(20, round(cls.subset * scale / step) * step)
        smaller = min(scale, 1.0)
        return cls(
            photos=max(round(cls.photos * scale), subset),
            subset=subset,
            seconds=cls.seconds * scale,
            rows=max(640, round(cls.rows * smaller)),
            validation_rows=max(160, round(cls.validation_rows * smaller)),
            search_rows=max(200, round(cls.search_rows * smaller)),
            stored_rows=max(512, round(cls.stored_rows * scale)),
            growth=tuple(n for n in GROWTH if n <= max(scale * cls.growth[-1], GROWTH[1])),
        )
