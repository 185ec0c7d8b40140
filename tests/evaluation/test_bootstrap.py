"""Intervals of scores: against closed forms, simulation, and the same resamples taken one by one."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom, binomtest, norm
from sklearn.metrics import roc_auc_score

from pipeline.evaluation.bootstrap import AUC, accuracy_of, bootstrap_intervals, draws


def scored(n, seed=0, shift=1.5):
    """Labels, and scores with ties."""
    rng = np.random.default_rng(seed)
    positive = rng.random(n) < 0.4
    return np.round(rng.normal(size=n) + shift * positive, 1), positive


def test_the_accuracys_interval_is_the_binomials():
    right = np.arange(500) < 430
    ((low, high),) = bootstrap_intervals([accuracy_of(right)], 500, resamples=20_000)
    assert [low, high] == pytest.approx(binom.ppf([0.025, 0.975], 500, 0.86) / 500, abs=0.0021)


def test_intervals_cover_the_truth_as_often_as_they_say():
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
    assert exact >= ours  # the exact interval is the careful one
    assert 0.9 < np.mean(widths) < 1


def test_the_aucs_interval_is_that_of_scikit_learn_on_each_resample():
    scores, positive = scored(120)
    naive = [
        roc_auc_score(positive, scores, sample_weight=counts)
        for block in draws(120, groups=None, resamples=150, seed=3)
        for counts in block.T
    ]
    (interval,) = bootstrap_intervals([AUC(scores, positive)], 120, resamples=150, seed=3)
    assert interval == pytest.approx(np.quantile(naive, [0.025, 0.975]), abs=1e-12)
    assert interval[0] < roc_auc_score(positive, scores) < interval[1]


def test_the_auc_of_all_rows_once_is_scikit_learns():
    scores, positive = scored(300)
    assert AUC(scores, positive)(np.ones((300, 1))) == pytest.approx(roc_auc_score(positive, scores), abs=1e-14)


def test_the_aucs_interval_is_as_wide_as_delongs():
    scores, positive = scored(1000)
    order = (scores[positive][:, None] > scores[~positive]) + 0.5 * (scores[positive][:, None] == scores[~positive])
    variance = order.mean(axis=1).var(ddof=1) / positive.sum() + order.mean(axis=0).var(ddof=1) / (~positive).sum()
    (low, high), *_ = bootstrap_intervals([AUC(scores, positive)], 1000, resamples=4000)
    assert high - low == pytest.approx(2 * norm.ppf(0.975) * variance**0.5, rel=0.06)


def test_each_resample_draws_as_many_rows_as_there_are_whatever_the_block(monkeypatch):
    monkeypatch.setattr("pipeline.evaluation.bootstrap.BLOCK", 30)
    blocks = list(draws(10, groups=None, resamples=7, seed=0))
    assert [block.shape for block in blocks] == [(10, 3), (10, 3), (10, 1)]
    assert all((block.sum(axis=0) == 10).all() for block in blocks)
    assert len({tuple(counts) for block in blocks for counts in block.T}) == 7
    monkeypatch.undo()
    np.testing.assert_array_equal(np.hstack(blocks), next(draws(10, groups=None, resamples=7, seed=0)))


def test_rows_of_a_group_are_drawn_together_and_are_no_news_of_each_other():
    scores, positive = scored(80)
    groups = np.repeat(np.arange(80), 5)
    statistics = [accuracy_of(positive), AUC(scores, positive)]
    many = [accuracy_of(np.repeat(positive, 5)), AUC(np.repeat(scores, 5), np.repeat(positive, 5))]
    assert np.allclose(bootstrap_intervals(many, 400, groups=groups), bootstrap_intervals(statistics, 80))
    alone = bootstrap_intervals(many, 400)
    assert alone[0][1] - alone[0][0] < 0.6 * np.ptp(bootstrap_intervals(statistics, 80)[0])


def test_resamples_without_a_class_are_left_out():
    scores, positive = np.array([0.1, 0.9, 0.2, 0.3]), np.array([False, True, False, False])
    assert bootstrap_intervals([AUC(scores, positive)], 4) == [(1.0, 1.0)]
    assert bootstrap_intervals([AUC(scores, np.ones(4, bool))], 4) == [None]


def test_the_same_seed_gives_the_same_interval():
    right = np.arange(100) % 7 > 0
    one, other = (bootstrap_intervals([accuracy_of(right)], 100, seed=seed) for seed in (0, 0))
    assert one == other
    assert one != bootstrap_intervals([accuracy_of(right)], 100, seed=1)
