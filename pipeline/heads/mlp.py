"""The mlp head: scikit-learn's multi-layer perceptron with early stopping."""

import logging
import numbers
import warnings
from dataclasses import dataclass

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier
from sklearn.utils import check_scalar

from pipeline.heads.folds import RowGroups, hold_out
from pipeline.heads.pipeline_head import PipelineHead

logger = logging.getLogger(__name__)


@dataclass(eq=False, repr=False)
class MLPHead(PipelineHead):
    """A multi-layer perceptron that stops when the accuracy on a held-out tenth no longer improves."""

    name = "mlp"
    training_copies = 1

    units: tuple[int, ...] = (100,)
    alpha: float = 1e-4
    learning_rate: float = 1e-3
    epochs: int = 200
    batch_size: int = 32
    pool: str = "avg"
    random_state: int | None = 0

    def make_classifier(self) -> MLPClassifier:
        """See `PipelineHead`."""
        return MLPClassifier(
            hidden_layer_sizes=self.units,
            alpha=self.alpha,
            learning_rate_init=self.learning_rate,
            max_iter=self.epochs,
            early_stopping=True,
            random_state=self.random_state,
        )

    def _count(self, classifier: MLPClassifier) -> int:
        return sum(weights.size for weights in [*classifier.coefs_, *classifier.intercepts_])

    def _fit(self, classifier: MLPClassifier, scaled: np.ndarray, y: np.ndarray, rows: RowGroups) -> MLPClassifier:
        labels = y[rows.first_rows]
        counts = np.unique(labels, return_counts=True)[1]
        if counts.min() < 2 or len(labels) < 10 * len(counts):
            logger.warning("mlp: %d images are too few to hold a tenth out, so all epochs are run", len(labels))
            classifier.set_params(early_stopping=False)
        batch_size = min(self.batch_size, len(y) * 9 // 10)
        patience = max(10, 500 * batch_size // len(y))  # ten epochs of a small set are too few steps to decide
        classifier.set_params(batch_size=batch_size, n_iter_no_change=patience)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # `epochs` is an upper bound
            if len(labels) == len(y) or not classifier.early_stopping:
                classifier.fit(scaled, y)
            else:
                self._fit_groups(classifier, scaled, y, rows)
        # Adam's moments are two thirds of a saved file and are needed only to continue training.
        vars(classifier).pop("_optimizer", None)
        return classifier

    def _fit_groups(self, classifier: MLPClassifier, scaled: np.ndarray, y: np.ndarray, rows: RowGroups) -> None:
        """Train with the early stopping of scikit-learn, which knows no groups, on a tenth of the groups."""
        check_scalar(self.epochs, "epochs", numbers.Integral, min_val=1)
        params = classifier.get_params()
        train, held_out = hold_out(classifier.validation_fraction, y, rows, self.random_state)
        X, labels = scaled[train], y[train]
        random = np.random.RandomState(self.random_state)  # partial_fit draws from it in each epoch
        classifier.set_params(early_stopping=False, random_state=random)
        best, waited, weights = -np.inf, 0, []
        for _ in range(self.epochs):
            classifier.partial_fit(X, labels, classes=self.classes_)
            score = classifier.score(scaled[held_out], y[held_out])
            waited = 0 if score >= best + params["tol"] else waited + 1
            if score > best:
                best, weights = score, [w.copy() for w in (*classifier.coefs_, *classifier.intercepts_)]
            if waited > params["n_iter_no_change"]:
                break
        half = len(weights) // 2
        classifier.coefs_, classifier.intercepts_ = weights[:half], weights[half:]
        classifier.set_params(**params)
