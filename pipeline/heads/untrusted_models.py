"""Model files of heads, which may come from strangers, read in ways that run no code in them.

A scikit-learn pipeline comes from skops, which builds listed types only; a network comes from Keras
in safe mode.
"""

from pathlib import Path
from typing import Any

import numpy as np
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import RandomForestClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from pipeline.files.check_untrusted import check_untrusted_keras
from pipeline.heads.calibration import CalibratedHead
from pipeline.heads.pooling import Pool

# skops trusts the public types of scikit-learn by itself. It does not trust Tree, whose compiled
# code follows the node numbers of a file unchecked; `_check_tree` checks them.
TRUSTED = (
    "pipeline.heads.pooling.Pool",
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._TemperatureScaling",
    "sklearn.tree._tree.Tree",
)


def load_network(path: Path, row_shape: tuple[int, ...], classes: int) -> Any:
    """Load a `.keras` file in safe mode, checked to be a network from `row_shape` to `classes`."""
    import keras

    check_untrusted_keras(path)
    model = keras.saving.load_model(path, compile=False, safe_mode=True)
    shapes = (tuple(model.input_shape[1:]), tuple(model.output_shape[1:]))
    expected = (row_shape, (1 if classes == 2 else classes,))
    if shapes != expected:
        raise ValueError(f"it maps {shapes[0]} to {shapes[1]}, expected {expected[0]} to {expected[1]}")
    return model


def load_pipeline(data: bytes, head: Any) -> Any:
    """Load a fitted pipeline from the bytes of a `.skops` file, checked to hold the steps and classes of `head`."""
    import skops.io

    untrusted = set(skops.io.get_untrusted_types(data=data)) - set(TRUSTED)
    if untrusted:
        raise ValueError(f"it holds types that are not trusted: {', '.join(sorted(untrusted))}")
    pipeline = skops.io.loads(data, trusted=list(TRUSTED))
    steps = pipeline.steps if isinstance(pipeline, Pipeline) else []
    if [(name, type(step)) for name, step in steps[:-1]] != [("pool", Pool), ("scale", StandardScaler)]:
        raise ValueError("it holds other steps")
    classifier = _classifier_inside(pipeline["classify"], head)
    if type(classifier) is not type(head.make_classifier()):
        raise ValueError(f"it holds another classifier, a {type(classifier).__name__}")
    if not np.array_equal(pipeline.classes_, head.classes_):
        raise ValueError("it holds other classes")
    if isinstance(classifier, RandomForestClassifier):
        for tree in classifier.estimators_:
            _check_tree(tree.tree_, pipeline["pool"].width(head.feature_shape_))
    return pipeline


def _classifier_inside(classifier: Any, head: Any) -> Any:
    """Return the classifier itself, or the one inside a calibrated classifier where the head is calibrated."""
    if not isinstance(head, CalibratedHead):
        return classifier
    if not isinstance(classifier, CalibratedClassifierCV) or classifier.ensemble:
        raise ValueError("it holds a classifier without calibration")
    (inner,) = classifier.calibrated_classifiers_
    (calibrator,) = inner.calibrators
    if (type(calibrator).__name__, inner.method) != ("_TemperatureScaling", "temperature"):
        raise ValueError("it holds another calibration")
    if len(inner.classes) != len(head.classes_):
        raise ValueError("it holds other classes")
    return inner.estimator


def _check_tree(tree: Any, width: int) -> None:
    """Check that a tree never leads out of its nodes or out of a row, and never in a circle."""
    inner = np.flatnonzero(tree.children_left != -1)  # the nodes that are not leaves
    children = np.stack([tree.children_left[inner], tree.children_right[inner]])
    features = tree.feature[inner]
    is_inside = (children > inner).all() and (children < tree.node_count).all()
    if not (tree.node_count and is_inside and (features >= 0).all() and (features < width).all()):
        raise ValueError("a tree of its forest is malformed")
