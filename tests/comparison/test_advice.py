"""The advice follows from the measurements and the budgets."""

import pytest

from pipeline.comparison import Budgets
from pipeline.comparison.advice import advise, pareto, recommend
from tests.comparison.rows import row

NONE = Budgets()


def worse(gap):
    """The first row is worse if it lies further below the second one than a gap."""
    return lambda row, other: other.accuracy - row.accuracy > gap


def test_the_most_accurate_the_fastest_and_the_smallest_are_named():
    rows = [row("big", 0.97, 50.0, model_mb=60), row("small", 0.90, 9.0, model_mb=1), row("fast", 0.89, 2.0)]
    assert advise(rows, NONE, worse(0.01)) == [
        "Accuracy counts: big, 96, float32 (accuracy 0.9700, 50.0 ms an image).",
        "Speed counts: fast, 96, float32 (accuracy 0.8900, 2.0 ms an image).",
        "Size counts: small, 96, float32 (accuracy 0.9000, 9.0 ms an image), a model of 1.0 MB, 1m00s for all images.",
    ]
    assert recommend(rows, NONE, worse(0.01)) is rows[0]


def test_if_no_difference_is_beyond_its_interval_the_cheapest_is_taken():
    rows = [row("big", 0.97, 50.0), row("fast", 0.96, 2.0)]
    assert recommend(rows, NONE, worse(0.02)) is rows[1]
    assert advise(rows, NONE, worse(0.02)) == [
        "No difference is beyond its interval: take the cheapest, fast, 96, float32 (accuracy 0.9600, 2.0 ms an image)."
    ]


def test_on_some_of_the_images_the_advice_says_what_they_can_tell_apart():
    rows = [
        row("big", 0.97, 50.0, validation_images=71),
        row("fast", 0.96, 2.0, difference_interval=(-0.09, 0.07)),
        row("poor", 0.5, 3.0, difference_interval=(-0.9, -0.1)),
    ]
    line = "71 validation images do not tell apart differences below about 0.08; --full uses more."
    assert advise(rows, NONE, worse(0.02), is_whole=False)[-1] == line
    assert line not in advise(rows, NONE, worse(0.02))
    assert line not in advise(rows, NONE, worse(0.001), is_whole=False)  # every row is measurably worse


def test_a_row_that_is_not_measurably_worse_and_faster_is_taken():
    middle = row("middle", 0.965, 10.0, difference=-0.005, difference_interval=(-0.034, 0.02))
    rows = [row("big", 0.97, 50.0), middle, row("fast", 0.8, 2.0)]
    assert recommend(rows, NONE, worse(0.02)) is rows[1]
    lines = advise(rows, NONE, worse(0.02))
    assert lines[1].endswith("; at most about 0.034 less accurate.")
    assert [line.partition(":")[0] for line in lines] == [
        "Accuracy counts",
        "Not measurably worse, and faster",
        "Speed counts",
    ]


def test_of_rows_that_cost_about_the_same_the_more_accurate_one_is_named():
    rows = [row("big", 0.97, 50.0, model_mb=60), row("a", 0.7, 2.0, model_mb=1.0), row("b", 0.8, 2.1, model_mb=1.05)]
    assert "Speed counts: b, 96" in advise(rows, NONE, worse(0.01))[1]
    assert len(advise(rows, NONE, worse(0.01))) == 2  # the smallest is the fastest


@pytest.mark.parametrize(
    "budgets", [Budgets(ms=20), Budgets(mb=5), Budgets(seconds=90), Budgets(seconds=90, ms=20, mb=5)]
)
def test_only_rows_within_the_limits_are_recommended(budgets):
    rows = [row("big", 0.97, 50.0, model_mb=60, estimated_seconds=600.0), row("a", 0.8, 9.0), row("b", 0.7, 9.0)]
    assert recommend(rows, budgets, worse(0.01)) is rows[1]
    assert not any("big" in line for line in advise(rows, budgets, worse(0.01)))


def test_the_measured_time_counts_more_than_the_estimated_one():
    rows = [row("a", 0.9, measured_seconds=100.0), row("b", 0.8, measured_seconds=80.0, estimated_seconds=200.0)]
    assert recommend(rows, Budgets(seconds=90), worse(0.01)) is rows[1]


def test_if_none_fits_the_closest_is_named():
    rows = [row("big", 0.97, 50.0), row("fast", 0.8, 22.0)]
    assert recommend(rows, Budgets(ms=20), worse(0.01)) is None
    (line,) = advise(rows, Budgets(ms=20), worse(0.01))
    assert line.startswith("No row is within the limits; the closest is fast, 96, float32 (accuracy 0.8000, 22.0 ms")


def test_what_cannot_be_exported_is_not_within_a_limit_of_megabytes():
    rows = [row("small.onnx", 0.97, 1.0, model_mb=None), row("big", 0.8, 22.0, model_mb=9.0)]
    assert "the closest is big" in advise(rows, Budgets(mb=5), worse(0.01))[0]
    assert "none can" in advise(rows[:1], Budgets(mb=5), worse(0.01))[0]


def test_random_weights_and_failed_rows_are_never_recommended():
    rows = [row("random", 0.99, 1.0, random_weights=True), row("failed", None, None, problem="no"), row("a", 0.9, 9.0)]
    assert recommend(rows, NONE, worse(0.01)) is rows[2]
    assert advise(rows, NONE, worse(0.01))[0].startswith("Take a, 96, float32")
    assert pareto(rows) == {"a"}
    assert advise(rows[:2], NONE, worse(0.01)) == [
        "Nothing can be recommended: no conv base with trained weights could be compared."
    ]
    assert recommend(rows[:2], NONE, worse(0.01)) is None


def test_the_pareto_front_holds_what_nothing_beats_in_both():
    rows = [row("a", 0.9, 10.0), row("b", 0.8, 5.0), row("c", 0.8, 6.0), row("d", 0.7, 1.0), row("e", 0.9, 11.0)]
    assert pareto(rows) == {"a", "b", "d"}
    assert pareto([row("a", 0.9), row("b", 0.9)]) == {"a", "b"}


def test_rows_that_went_on_to_more_images_come_before_others():
    rows = [row("whole", 0.95, 9.0, train_images=3000), row("left", 0.97, 10.0, train_images=600)]
    assert recommend(rows, NONE, worse(-1)) is rows[0] and pareto(rows) == {"whole"}
