"""Which conv base to take: pure functions of the rows of a comparison and of the budgets."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pipeline.comparison.row import ComparedRow
from pipeline.evaluation import with_interval
from pipeline.text import format_duration

CLOSE = 1.1  # costs that differ by less count as equal: the more accurate row is named
IsWorse = Callable[[ComparedRow, ComparedRow], bool]  # whether the first is measurably less accurate than the second


@dataclass(frozen=True)
class Budgets:
    """What a recommended row may cost at most; None for any.

    `seconds` is the time of stage one on all images, `ms` that of an image, `mb` the megabytes of the exported model.
    """

    seconds: float | None = None
    ms: float | None = None
    mb: float | None = None

    def excess(self, row: ComparedRow) -> float:
        """Return the largest ratio of a row's cost to its limit; at most 1 if the row fits."""
        seconds = row.estimated_seconds if row.measured_seconds is None else row.measured_seconds
        costs = ((seconds, self.seconds), (row.ms, self.ms), (row.model_mb, self.mb))
        return max((cost / limit for cost, limit in costs if cost is not None and limit), default=0.0)

    def fits(self, row: ComparedRow) -> bool:
        """Return whether a row can be recommended: trained weights, and within every limit."""
        return row.can_be_taken and self.excess(row) <= 1 and not (self.mb and row.model_mb is None)


def pareto(rows: Sequence[ComparedRow]) -> set[str]:
    """Return the names of the trained rows that no other one beats in both accuracy and ms."""
    points = {row.name: (_rank(row), row.ms or 0.0) for row in rows if row.can_be_taken}

    def beats(other: tuple[tuple[int, float], float], point: tuple[tuple[int, float], float]) -> bool:
        return other != point and other[0] <= point[0] and other[1] <= point[1]

    return {name for name, point in points.items() if not any(beats(other, point) for other in points.values())}


def recommend(rows: Sequence[ComparedRow], budgets: Budgets, is_worse: IsWorse) -> ComparedRow | None:
    """Return the fastest row within the budgets that is not measurably less accurate than the best of them."""
    fitting = [row for row in rows if budgets.fits(row)]
    if not fitting:
        return None
    best = _best(fitting)
    return min((row for row in fitting if row is best or not is_worse(row, best)), key=_cost)


def advise(rows: Sequence[ComparedRow], budgets: Budgets, is_worse: IsWorse, *, is_whole: bool = True) -> list[str]:
    """Return one to five lines: what to take when accuracy counts, when speed and when size.

    Unless `is_whole`, which says that all images were used, the last one tells how small differences may go unnoticed.
    """
    fitting, candidates = [row for row in rows if budgets.fits(row)], [row for row in rows if row.can_be_taken]
    if not candidates:
        return ["Nothing can be recommended: no conv base with trained weights could be compared."]
    if not fitting:
        exported = [row for row in candidates if row.model_mb is not None]
        if budgets.mb and not exported:
            return ["No row is within the limits: --max-mb needs a model that can be exported, and none can."]
        closest = min(exported if budgets.mb else candidates, key=lambda row: (budgets.excess(row), _cost(row)))
        return [f"No row is within the limits; the closest is {_describe(closest)}, {_size(closest)}."]
    best, taken = _best(fitting), recommend(rows, budgets, is_worse)
    if len(fitting) == 1:
        limits = " within the limits" if budgets != Budgets() else ""
        return [f"Take {_describe(best)}, {_size(best)}: the only row with trained weights{limits}."]
    named = [best] if taken is None or taken is best else [best, taken]
    if taken is not None and not any(is_worse(row, best) for row in fitting):
        lines, named = [f"No difference is beyond its interval: take the cheapest, {_describe(taken)}."], [taken]
    else:
        lines = [f"Accuracy counts: {_describe(best)}."]
        lines += [f"Not measurably worse, and faster: {_describe(row)}{_risk(row, best)}." for row in named[1:]]
    if fastest := _cheaper(fitting, "ms", named):
        lines.append(f"Speed counts: {_describe(fastest)}.")
        named.append(fastest)
    if smallest := _cheaper(fitting, "model_mb", named):
        lines.append(f"Size counts: {_describe(smallest)}, {_size(smallest)}.")
    close = [row for row in fitting if row is not best and not is_worse(row, best)]
    return lines if is_whole else lines + _resolution(best, close)


def _risk(row: ComparedRow, best: ComparedRow) -> str:
    """Say how much less accurate than the best row another one may be, if its interval is that of this difference."""
    if row.difference_interval is None or best.difference is not None or row.train_images != best.train_images:
        return ""
    return f"; at most about {max(-row.difference_interval[0], 0.0):.2g} less accurate"


def _resolution(best: ComparedRow, close: Sequence[ComparedRow]) -> list[str]:
    """Say which differences the validation images do not tell apart, from the intervals of `close` rows."""
    widths = [high - low for low, high in (row.difference_interval or (0.0, 0.0) for row in close)]
    if not (width := max(widths, default=0.0)):
        return []
    return [
        f"{best.validation_images} validation images do not tell apart differences below about {width / 2:.2g}; "
        "--full uses more."
    ]


def describe_test(rows: Sequence[ComparedRow]) -> list[str]:
    """Return a line with the score on the test images, if the recommended row has one."""
    tested = [row for row in rows if row.is_recommended and row.test_accuracy is not None]
    return [
        f"On the test images, {row.label} has accuracy {with_interval(row.test_accuracy or 0.0, row.test_interval)}."
        for row in tested
    ]


def _best(rows: Sequence[ComparedRow]) -> ComparedRow:
    return min(rows, key=lambda row: (*_rank(row), *_cost(row)))


def _cheaper(rows: Sequence[ComparedRow], cost: str, named: Sequence[ComparedRow]) -> ComparedRow | None:
    """Return the most accurate of the rows that cost about as little as the cheapest one; None if one is named."""
    costs = {row.name: getattr(row, cost) for row in rows if getattr(row, cost) is not None}
    cheap = [row for row in rows if row.name in costs and costs[row.name] <= CLOSE * min(costs.values())]
    return None if not cheap or any(row in cheap for row in named) else _best(cheap)


def _rank(row: ComparedRow) -> tuple[int, float]:
    """Order rows by accuracy; one that went on to more images comes before those that were left behind."""
    return -row.train_images, -(row.accuracy or 0.0)


def _cost(row: ComparedRow) -> tuple[float, float]:
    return row.ms or 0.0, _megabytes(row)


def _megabytes(row: ComparedRow) -> float:
    return row.model_mb or 0.0


def _describe(row: ComparedRow) -> str:
    return f"{row.label} (accuracy {row.accuracy:.4f}, {row.ms:.1f} ms an image)"


def _size(row: ComparedRow) -> str:
    seconds = row.estimated_seconds if row.measured_seconds is None else row.measured_seconds
    words = [] if row.model_mb is None else [f"a model of {row.model_mb:.1f} MB"]
    words += [] if seconds is None else [f"{format_duration(seconds)} for all images"]
    return ", ".join(words)
