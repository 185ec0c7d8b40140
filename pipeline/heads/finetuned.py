"""The fine-tuned head: the layers above a cut and a dense head, trained together on cached maps."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pipeline.defaults import HEAD_BATCH, TUNING_EPOCHS, TUNING_PATIENCE, TUNING_RATE
from pipeline.errors import HeadError
from pipeline.heads.dense import DenseHead
from pipeline.heads.head import OnEpoch
from pipeline.text import COMMAND

if TYPE_CHECKING:
    from pipeline.heads.epoch_loop import EpochLoop

logger = logging.getLogger(__name__)


class TuningSetup(NamedTuple):
    """What a fine-tuning starts from, where it is kept, and what it calls."""

    top_layers: Any  # keras.Model: the layers above the cut, trained in place; see `load_top_layers`
    dense: DenseHead  # trained on the features that `top_layers` makes of the training maps
    # A file to write after each epoch, and to continue from if it exists. A training that is interrupted and
    # called again ends with the same weights as one without interruption.
    checkpoint: Path | None = None
    identity: str = ""  # see `pipeline.heads.checkpoint.write_checkpoint`
    on_resume: Callable[[int], None] = lambda epochs: None  # called with the number of epochs in the checkpoint
    on_rows: Callable[[int], None] | None = None  # called with the number of rows trained on since the last call


class FinetunedHead(DenseHead):
    """The top layers of a conv base and a dense head, trained together at a small learning rate.

    It takes the maps of a store with a lower cut, such as `--cut top1`; once trained it is a head
    like any other. The recipe is that of the transfer-learning guide of Keras: first a head on
    frozen features, then small steps of all layers above the cut, during which normalisation layers
    keep their statistics and the dropout of the conv base is off. The loss is cross-entropy, the
    optimiser Adam.

    Parameters
    ----------
    learning_rate, epochs, batch_size, class_weight
        See `DenseHead`.
    patience : int
        Stop when the validation loss has not improved for this many epochs. In any case the weights
        with the lowest validation loss are taken, which may be those before the first epoch.
    random_state : int
        Seed of the order of rows.

    Attributes
    ----------
    model_ : keras.Model
        From maps to the probability of the second class, (n, 1), or of each class, (n, k). Its
        layers are `upper`, the top layers, and `dense_head`.
    history_ : dict of str to list of float
        See `DenseHead`. Not saved with the head.
    kept_epoch_ : int
        The epoch whose weights were taken; 0 for those before the first. Not saved with the head.
    seconds_ : list of float
        Duration of each epoch. Not saved with the head.
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

    def check_params(self) -> None:
        """See `DenseHead`; `patience` is required, as without it no weights but the first would be kept."""
        super().check_params()
        if self.patience is None:
            raise HeadError("finetuned cannot be trained without patience; to run all epochs, set it to their number")

    def fit(
        self,
        X: Any,
        y: Any,
        validation_data: tuple[Any, Any] | None = None,
        on_epoch: OnEpoch | None = None,
        groups: Any = None,
        images: Any = None,
        held_out: Any = None,
        setup: TuningSetup | None = None,
    ) -> FinetunedHead:
        """Train the top layers and the head.

        Parameters
        ----------
        X : ndarray, `Rows` or `SharedFeatures` of shape (n, height, width, channels), any float
            Maps at the cut.
        y : ndarray of shape (n,)
            Labels, of the classes of `dense`.
        validation_data, on_epoch, groups, images, held_out
            See `DenseHead.fit`.
        setup : TuningSetup
            What the training starts from.
        """
        from pipeline.heads.checkpoint import read_checkpoint, write_checkpoint

        if setup is None:
            raise HeadError(f"a finetuned head is trained by `{COMMAND} finetune`, not by `heads`")
        training, validation, held_out = self._check_data(X, y, validation_data, images, held_out)
        top_layers, dense, checkpoint, identity, on_resume, on_rows = setup
        if not np.array_equal(dense.classes_, self.classes_):
            raise HeadError(f"the dense head has classes {dense.classes_}, the labels have {self.classes_}")
        loop = self._make_loop(top_layers, dense.model_)
        try:
            is_resumed = checkpoint is not None and read_checkpoint(checkpoint, loop, identity, self.epochs)
        except ValueError as error:
            logger.warning("finetuned: %s; the training starts again", error)
            is_resumed = False
        if is_resumed:
            on_resume(loop.done)
        elif (watched := held_out or validation) is not None:
            loop.note_loss(loop.score(watched)["val_loss"])

        def after_epoch(epoch: int, scores: dict[str, float]) -> None:
            if checkpoint is not None:
                write_checkpoint(checkpoint, loop, identity)
            if on_epoch is not None:
                on_epoch(epoch, scores)

        loop.run(training, validation, self.epochs, after_epoch, on_rows, held_out)
        self.history_, self.seconds_, self.kept_epoch_ = loop.history, loop.seconds, loop.best_epoch
        self.model_ = loop.network.model
        return self

    def _make_loop(self, top_layers: Any, dense_model: Any) -> EpochLoop:
        from pipeline.heads.compiled_network import CompiledNetwork
        from pipeline.heads.dense_network import join_models
        from pipeline.heads.epoch_loop import EpochLoop

        model = join_models(top_layers, dense_model)
        upper, head = model.get_layer("upper"), model.get_layer("dense_head")

        def forward(maps: Any, training: bool) -> Any:
            # model(maps, training=True) would also switch on the dropout inside `upper`.
            return head(upper(maps, training=False), training=training)

        network = CompiledNetwork(model, self.learning_rate, self.batch_size, forward)
        return EpochLoop(network, self.patience, self._make_rng())
