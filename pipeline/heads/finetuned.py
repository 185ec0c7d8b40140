"""The fine-tuned head: the layers above a cut and a dense head, trained together on cached maps."""

from __future__ import annotations

import logging
import numbers
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from sklearn.utils import check_random_state, check_scalar
from sklearn.utils.class_weight import compute_sample_weight

from pipeline.defaults import HEAD_BATCH, TUNING_EPOCHS, TUNING_PATIENCE, TUNING_RATE
from pipeline.errors import HeadError
from pipeline.heads.dense import DenseHead, OnEpoch
from pipeline.heads.grouping import check_groups

if TYPE_CHECKING:
    from pipeline.heads.training import Epochs, Labelled

logger = logging.getLogger(__name__)


class Start(NamedTuple):
    """What fine-tuning starts from.

    Attributes
    ----------
    top_layers : keras.Model
        The layers above the cut, from maps to features; see `pipeline.conv_base.top_layers.load_top_layers`.
        They are trained in place.
    dense : DenseHead
        Trained on the features that `upper` makes of the training maps.
    """

    top_layers: Any
    dense: DenseHead


class Checkpoint(NamedTuple):
    """Where a training is written down after each epoch.

    Attributes
    ----------
    path : Path
    identity : str
        See `pipeline.heads.checkpoint.write_checkpoint`.
    """

    path: Path
    identity: str


class FinetunedHead(DenseHead):
    """The top layers of a conv base and a dense head on top, trained together at a small learning rate.

    It takes the maps of a store that was cut lower, `--cut top1` say, and is a head like any other
    once it is trained. The recipe is that of the transfer-learning guide of Keras: first a head on
    frozen features, then small steps of all layers above the cut, in which normalisations keep to
    their statistics and the conv base's own dropout is off. The loss is cross-entropy, the
    optimiser Adam.

    Parameters
    ----------
    learning_rate : float
    epochs : int
        Passes over the training set, at most.
    batch_size : int
        Rows a step.
    patience : int
        Stop when the validation loss has not improved for so many epochs. The weights with the
        lowest validation loss are kept in any case, those from before the first epoch among them.
    class_weight : "balanced" or dict, optional
        Weights of the training loss, as in scikit-learn.
    random_state : int
        Of the order of rows.

    Attributes
    ----------
    model_ : keras.Model
        From maps to the probability of the second class, (n, 1), or of each class, (n, k); its
        layers `upper` and `dense_head` are the two parts.
    history_ : dict of str to list of float
        As of `DenseHead`. Not saved with the head.
    kept_epoch_ : int
        Whose weights were kept; 0 where no epoch was better than none. Not saved with the head.
    seconds_ : list of float
        What each epoch took. Not saved with the head.
    """

    name = "finetuned"

    def __init__(
        self,
        learning_rate: float = TUNING_RATE,
        epochs: int = TUNING_EPOCHS,
        batch_size: int = HEAD_BATCH,
        patience: int = TUNING_PATIENCE,
        class_weight: str | Mapping[Any, float] | None = None,
        random_state: int | None = 0,
    ):
        self.learning_rate = learning_rate
        self.epochs = epochs
        self.batch_size = batch_size
        self.patience = patience
        self.class_weight = class_weight
        self.random_state = random_state

    def fit(
        self,
        X: Any,
        y: Any,
        validation_data: tuple[Any, Any] | None = None,
        on_epoch: OnEpoch | None = None,
        groups: Any = None,
        *,
        start: Start | None = None,
        checkpoint: Checkpoint | None = None,
        on_resume: Callable[[int], None] = lambda epochs: None,
        on_rows: Callable[[int], None] | None = None,
    ) -> FinetunedHead:
        """Train the top layers and the head.

        Parameters
        ----------
        X : ndarray, `Rows` or `SharedFeatures` of shape (n, height, width, channels), any float
            Maps at the cut.
        y : ndarray of shape (n,)
            Labels, of the classes that `start.dense` knows.
        validation_data : (X, y), optional
            Without it the training loss is watched.
        on_epoch : callable, optional
            Called after each epoch with its number, from 1, and its losses and accuracies.
        groups : ndarray of shape (n,), optional
            As of `DenseHead.fit`: an epoch draws one view of each image.
        start : Start
        checkpoint : Checkpoint, optional
            Where to write after each epoch, and to go on from if the file is there. Interrupted and
            called again, the training ends as it would have without the interruption.
        on_resume : callable
            Called with the number of epochs that are done already, where the checkpoint tells of some.
        on_rows : callable, optional
            Called during an epoch with the number of rows that were trained on since the last call.

        Raises
        ------
        HeadError
            There is no start, or it was made for other classes.
        ValueError
            See `Head._check_training_set`.
        """
        if start is None:
            raise HeadError("a finetuned head is trained by `python -m pipeline finetune`, not by `heads`")
        features, y = self._check_training_set(X, y)
        self.check_params()
        if not np.array_equal(start.dense.classes_, self.classes_):
            raise HeadError(f"the head to start from knows classes {start.dense.classes_}, the labels {self.classes_}")
        training = self._labelled(features, y, compute_sample_weight(self.class_weight, y))
        training = training._replace(groups=check_groups(groups, y))
        validation = None if validation_data is None else self._validation(*validation_data)
        course = self._course(start)
        self._begin(course, validation, checkpoint)
        if course.done:
            on_resume(course.done)
        while course.done < self.epochs and not course.is_over:
            scores = course.run(training, validation, on_rows)
            _write(course, checkpoint)
            if on_epoch is not None:
                on_epoch(course.done, scores)
        course.take_best()
        self.history_, self.seconds_, self.kept_epoch_ = course.history, course.seconds, course.best_epoch
        self.model_ = course.network.model
        return self

    def _course(self, start: Start) -> Epochs:
        from pipeline.heads import network, training

        model = network.stack_head(start.top_layers, start.dense.model_)
        top_layers, head = model.get_layer("upper"), model.get_layer("dense_head")

        def forward(maps: Any, training: bool) -> Any:
            # model(maps, training=True) would wake what sleeps in `upper`, whatever stands in its graph
            return head(top_layers(maps, training=False), training=training)

        rng = np.random.default_rng(check_random_state(self.random_state).randint(2**31 - 1))
        return training.Epochs(
            training.Network(model, self.learning_rate, self.batch_size, forward), self.patience, rng
        )

    def _begin(self, course: Epochs, validation: Labelled | None, checkpoint: Checkpoint | None) -> None:
        from pipeline.heads.checkpoint import read_checkpoint

        try:
            if checkpoint is not None and read_checkpoint(checkpoint.path, course, checkpoint.identity, self.epochs):
                return
        except ValueError as error:
            logger.warning("finetuned: %s; the training starts again", error)
        if validation is not None:
            course.keep_if_best(course.score(validation)["val_loss"])

    def check_params(self) -> None:
        """As of `DenseHead`."""
        super().check_params()
        check_scalar(self.patience, "patience", numbers.Integral, min_val=1)


def _write(course: Epochs, checkpoint: Checkpoint | None) -> None:
    from pipeline.heads.checkpoint import write_checkpoint

    if checkpoint is not None:
        write_checkpoint(checkpoint.path, course, checkpoint.identity)
