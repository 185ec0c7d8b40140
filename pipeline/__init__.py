"""A cached-feature pipeline for transfer learning.

Stage one runs a frozen conv base once over every image and stores its features in HDF5; stage two
trains heads on the stored features. Importing this package imports neither TensorFlow nor
scikit-learn: a name below is loaded when it is first used.
"""

from importlib import import_module
from typing import Any

__version__ = "0.2.0.dev0"

MODULES = {  # of the public names
    "Augmentation": "images.augment",
    "Budgets": "comparison",
    "Callbacks": "extraction.callbacks",
    "Comparison": "comparison",
    "ConvBaseSpec": "conv_base.spec",
    "Duplicates": "duplicates",
    "Evaluation": "evaluation",
    "FeatureStore": "store",
    "ImageTable": "images.table",
    "Prediction": "predict",
    "TrainedConvBase": "base_training",
    "TrainedHead": "training.trained_head",
    "Cluster": "cluster",
    "open_cluster": "cluster",
    "assemble_model": "export",
    "compare_conv_bases": "comparison",
    "compute_part": "extraction.compute_part",
    "evaluate": "evaluation",
    "export_model": "export",
    "extract_features": "extraction.extract",
    "finetune_head": "finetune",
    "find_duplicates": "duplicates",
    "join_stores": "joined.join_stores",
    "load_head": "heads.load_head",
    "make_head": "heads",
    "open_features": "store",
    "pack_store": "maintenance.pack",
    "predict_images": "predict",
    "repair_store": "maintenance.repair",
    "save_head": "heads.save_head",
    "scan_images": "images.scan",
    "train_conv_base": "base_training",
    "train_heads": "training.train_heads",
    "verify_store": "maintenance.verify",
    "write_comparison": "report",
    "write_report": "report",
    "ClusterError": "errors",
    "ClusterFailed": "errors",
    "ExportError": "errors",
    "HeadError": "errors",
    "ImagesError": "errors",
    "PipelineError": "errors",
    "SpecError": "errors",
    "StoreBusy": "errors",
    "StoreDamaged": "errors",
    "StoreError": "errors",
    "StoreMismatch": "errors",
    "TooManyBadImages": "errors",
    "WeightsUnavailable": "errors",
}
__all__ = sorted(MODULES)


def __getattr__(name: str) -> Any:
    if name not in MODULES:
        raise AttributeError(f"module 'pipeline' has no attribute {name!r}")
    return getattr(import_module(f"pipeline.{MODULES[name]}"), name)


def __dir__() -> list[str]:
    return [*globals(), *MODULES]
