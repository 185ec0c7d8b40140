"""Save a trained head below its store, with its scores and plots."""

from pipeline.evaluation.plots import save_plots
from pipeline.heads.save_head import save_head
from pipeline.store import FeatureStore
from pipeline.training.saved_heads import hash_data
from pipeline.training.trained_head import TrainedHead, format_title


def save_trained_head(trained: TrainedHead, store: FeatureStore) -> None:
    """Write `head.json`, the model, `metrics.json` and the plots of a head to `store.heads_directory / name`."""
    directory = store.heads_directory / trained.name
    metrics = {
        **trained.metrics(),
        "random_weights": store.random_weights,
        "data_sha256": hash_data(store),
        "train_images": len(store.members("train")),
    }
    save_head(trained.head, directory, classes=store.classes, fingerprint=store.fingerprint, metrics=metrics)
    save_plots(trained.evaluation, trained.history, directory, title=format_title(trained.name, store))
