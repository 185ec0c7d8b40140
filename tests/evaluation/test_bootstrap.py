"""Bootstrap intervals, compared with closed forms, with simulations and with scikit-learn on each resample."""

import numpy as np
import pytest
from scipy.stats import binom, binomtest, norm
from sklearn.metrics import roc_auc_score

from pipeline.evaluation.bootstrap import AUC, accuracy_of, bootstrap_intervals, resample_counts


def random_scores(n, seed=0, shift=1.5):
    """Return scores with ties, and which rows are positive."""
    rng = np.random.default_rng(seed)
    positive = rng.random(n) < 0.4
    return np.round(rng.normal(size=n) + shift * positive, 1), positive


def test_accuracy_interval_agrees_with_the_binomial_distribution():
    right = np.arange(500) < 430
    ((low, high),) = bootstrap_intervals([accuracy_of(right)], 500, resamples=20_000)
    assert [low, high] == pytest.approx(binom.ppf([0.025, 0.975], 500, 0.86) / 500, abs=0.0021)


def test_intervals_cover_the_true_accuracy_in_95_percent_of_simulations():
    rng = np.random.default_rng(0)
    n, truth, runs = 200, 0.85, 200
    ours = exact = 0
    widths = []
    for run in range(runs):
        right = rng.random(n) < truth
        ((low, high),) = bootstrap_intervals([accuracy_of(right)], n, seed=run)
        clopper = binomtest(int(right.sum()), n).proportion_ci(method="exact")
        ours += low <= truth <= high
        exact += clopper.low <= truth <= clopper.high
        widths.append((high - low) / (clopper.high - clopper.low))
    assert 0.92 <= ours / runs <= 0.975
    assert exact >= ours  # the exact interval is conservative
    assert 0.9 < np.mean(widths) < 1


def test_auc_interval_agrees_with_scikit_learn_on_each_resample():
    scores, positive = random_scores(120)
    naive = [
        roc_auc_score(positive, scores, sample_weight=counts)
        for block in resample_counts(120, groups=None, resamples=150, seed=3)
        for counts in block.T
    ]
    (interval,) = bootstrap_intervals([AUC(scores, positive)], 120, resamples=150, seed=3)
    assert interval == pytest.approx(np.quantile(naive, [0.025, 0.975]), abs=1e-12)
    assert interval[0] < roc_auc_score(positive, scores) < interval[1]


def test_auc_of_the_original_rows_agrees_with_scikit_learn():
    scores, positive = random_scores(300)
    assert AUC(scores, positive)(np.ones((300, 1))) == pytest.approx(roc_auc_score(positive, scores), abs=1e-14)


def test_auc_interval_is_as_wide_as_that_of_delong():
    scores, positive = random_scores(1000)
    order = (scores[positive][:, None] > scores[~positive]) + 0.5 * (scores[positive][:, None] == scores[~positive])
    variance = order.mean(axis=1).var(ddof=1) / positive.sum() + order.mean(axis=0).var(ddof=1) / (~positive).sum()
    (low, high), *_ = bootstrap_intervals([AUC(scores, positive)], 1000, resamples=4000)
    assert high - low == pytest.approx(2 * norm.ppf(0.975) * variance**0.5, rel=0.06)


def test_resamples_have_n_rows_and_do_not_depend_on_the_block_size(monkeypatch):
    monkeypatch.setattr("pipeline.evaluation.bootstrap.BLOCK", 30)
    blocks = list(resample_counts(10, groups=None, resamples=7, seed=0))
    assert [block.shape for block in blocks] == [(10, 3), (10, 3), (10, 1)]
    assert all((block.sum(axis=0) == 10).all() for block in blocks)
    assert len({tuple(counts) for block in blocks for counts in block.T}) == 7
    monkeypatch.undo()
    np.testing.assert_array_equal(np.hstack(blocks), next(resample_counts(10, groups=None, resamples=7, seed=0)))


def test_rows_of_a_group_are_drawn_together():
    scores, positive = random_scores(80)
    groups = np.repeat(np.arange(80), 5)
    statistics = [accuracy_of(positive), AUC(scores, positive)]
    many = [accuracy_of(np.repeat(positive, 5)), AUC(np.repeat(scores, 5), np.repeat(positive, 5))]
    assert np.allclose(bootstrap_intervals(many, 400, groups=groups), bootstrap_intervals(statistics, 80))
    alone = bootstrap_intervals(many, 400)
    assert alone[0][1] - alone[0][0] < 0.6 * np.ptp(bootstrap_intervals(statistics, 80)[0])


def test_resamples_with_only_one_class_are_left_out():
    scores, positive = np.array([0.1, 0.9, 0.2, 0.3]), np.array([False, True, False, False])
    assert bootstrap_intervals([AUC(scores, positive)], 4) == [(1.0, 1.0)]
    assert bootstrap_intervals([AUC(scores, np.ones(4, bool))], 4) == [None]


def test_the_same_seed_gives_the_same_interval():
    right = np.arange(100) % 7 > 0
    first, second = (bootstrap_intervals([accuracy_of(right)], 100, seed=seed) for seed in (0, 0))
    assert first == second
    assert first != bootstrap_intervals([accuracy_of(right)], 100, seed=1)
