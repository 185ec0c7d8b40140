"""What is fitted in the folds of a search, in less time than scikit-learn takes, gives the scores of scikit-learn."""

import numpy as np
import pytest
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import LinearSVC

from pipeline.heads import make_head
from pipeline.heads.folds import check_groups, make_folds
from pipeline.heads.shared_features import SharedFeatures
from pipeline.heads.squared_hinge import SquaredHinge


def overlapping(n: int, classes: int, d: int = 16) -> tuple[np.ndarray, np.ndarray]:
    """Flat features of classes that overlap."""
    rng = np.random.default_rng(0)
    y = np.arange(n) % classes
    return (rng.normal(size=(n, d)) + np.eye(d)[y]).astype(np.float32), y


@pytest.mark.parametrize("labels", [[0, 1], [0, 2, 5]])
def test_the_scores_of_knn_are_those_of_a_grid_search(labels):
    X, y = overlapping(150, len(labels))
    y = np.array(labels)[y]
    tried = make_head("knn", n_jobs=2).fit(X, y).search_
    classifier, grid = KNeighborsClassifier(algorithm="brute"), {"n_neighbors": [value["k"] for value in tried]}
    search = GridSearchCV(classifier, grid, cv=make_folds(5, y, check_groups(None, None, y), 0))
    search.fit(SharedFeatures(X).scaled("avg")[1], y)
    assert len(tried) == 7
    assert [value["score"] for value in tried] == search.cv_results_["mean_test_score"].tolist()


@pytest.mark.parametrize("class_weight", [None, "balanced", {0: 3.0, 1: 0.5}])
@pytest.mark.parametrize("C", [1e-4, 1e-2, 1.0, 100.0])
@pytest.mark.parametrize("classes", [2, 3])
def test_a_squared_hinge_is_the_support_vector_machine_of_scikit_learn(classes, C, class_weight):
    X, y = overlapping(200, classes)
    y[: 40 * classes : classes] = 1  # classes of different sizes
    params = {"C": C, "class_weight": class_weight}
    expected = LinearSVC(**params, dual=False, tol=1e-7, max_iter=20_000).fit(X, y)
    fitted = SquaredHinge(**params).fit(X, y)
    np.testing.assert_allclose(fitted.decision_function(X), expected.decision_function(X), atol=2e-3)
    np.testing.assert_array_equal(fitted.classes_, expected.classes_)
    assert fitted.coef_.dtype == np.float32


@pytest.mark.parametrize("d", [16, 400])
def test_a_support_vector_machine_itself_is_fitted_by_scikit_learn(d):
    X, y = overlapping(200, 2, d)
    head = make_head("svm", C=0.01).fit(X, y)
    expected = head.make_classifier().fit(SharedFeatures(X).scaled("avg")[1], y)
    assert type(head.linear_) is type(head.pipeline_["classify"].estimator) is LinearSVC
    np.testing.assert_array_equal(head.linear_.coef_, expected.coef_)
