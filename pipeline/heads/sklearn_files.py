"""Fitted scikit-learn pipelines as bytes, by skops: data only, and of few types."""

from __future__ import annotations

from typing import Any

import numpy as np
import skops.io
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import RandomForestClassifier
from sklearn.pipeline import Pipeline

# skops trusts the public types of scikit-learn by itself. It does not trust Tree, whose compiled
# code follows the node numbers of a file unchecked; `_check_tree` checks them.
TRUSTED = (
    "pipeline.heads.pooling.Pool",
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._TemperatureScaling",
    "sklearn.tree._tree.Tree",
)
LEAF = -1  # in place of a child


def to_bytes(pipeline: Pipeline) -> bytes:
    """A fitted pipeline as the bytes of a `.skops` file."""
    return skops.io.dumps(pipeline)


def from_bytes(data: bytes, head: Any) -> Pipeline:
    """The fitted pipeline of a `.skops` file.

    Parameters
    ----------
    data : bytes
    head : PipelineHead
        With its parameters, `classes_` and `feature_shape_`: what the pipeline has to fit.

    Raises
    ------
    ValueError
        The file holds other types than a head is made of, or other steps than this head's.
    """
    untrusted = set(skops.io.get_untrusted_types(data=data)) - set(TRUSTED)
    if untrusted:
        raise ValueError(f"it holds types that are not trusted: {', '.join(sorted(untrusted))}")
    pipeline = skops.io.loads(data, trusted=list(TRUSTED))
    if not isinstance(pipeline, Pipeline) or _kinds(pipeline) != _kinds(head._unfitted()):
        raise ValueError("it holds other steps")
    if not np.array_equal(pipeline.classes_, head.classes_):
        raise ValueError("it holds other classes")
    classifier = pipeline[-1]
    if isinstance(classifier, CalibratedClassifierCV):
        _check_calibrated(classifier, type(head._classifier()), len(head.classes_))
    if isinstance(classifier, RandomForestClassifier):
        width = pipeline[0].transform(np.zeros((1, *head.feature_shape_), dtype=np.float32)).shape[1]
        for tree in classifier.estimators_:
            _check_tree(tree.tree_, width)
    return pipeline


def _kinds(pipeline: Pipeline) -> list[tuple[str, type]]:
    return [(name, type(step)) for name, step in pipeline.steps]


def _check_calibrated(classifier: CalibratedClassifierCV, kind: type, classes: int) -> None:
    """Refuse any other classifier inside, such as a forest whose trees nobody has checked."""
    (inner,) = classifier.calibrated_classifiers_
    (calibrator,) = inner.calibrators
    kinds = type(inner.estimator), type(calibrator).__name__, inner.method, classifier.ensemble
    if kinds != (kind, "_TemperatureScaling", "temperature", False) or len(inner.classes) != classes:
        raise ValueError("it holds another classifier, or probabilities of another kind")


def _check_tree(tree: Any, width: int) -> None:
    """Refuse a tree that would lead out of its nodes or of a row, or round in a circle."""
    inner = np.flatnonzero(tree.children_left != LEAF)
    children = np.stack([tree.children_left[inner], tree.children_right[inner]])
    features = tree.feature[inner]
    inside = (children > inner).all() and (children < tree.node_count).all()
    if not (tree.node_count and inside and (features >= 0).all() and (features < width).all()):
        raise ValueError("a tree of its forest is malformed")
