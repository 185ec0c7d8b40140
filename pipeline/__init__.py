"""A cached-feature pipeline for transfer learning.

Stage one runs a frozen conv base once over every image and keeps its features in HDF5; stage two
trains heads on the kept features. Importing this package imports neither TensorFlow nor
scikit-learn: a name below is loaded when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_WHERE = {
    "Augmentation": "images.augment",
    "ConvBaseSpec": "conv_base.spec",
    "ImageTable": "images.table",
    "Prediction": "predict",
    "Callbacks": "extraction.callbacks",
    "Evaluation": "evaluation",
    "Duplicates": "duplicates",
    "FeatureStore": "store",
    "assemble_model": "export",
    "evaluate": "evaluation",
    "export_model": "export",
    "extract_features": "extraction.extract",
    "finetune_head": "finetune",
    "find_duplicates": "duplicates",
    "load_head": "heads.files",
    "make_head": "heads",
    "open_features": "store",
    "pack_store": "maintenance.pack",
    "predict_images": "predict",
    "repair_store": "maintenance.repair",
    "save_head": "heads.files",
    "scan_images": "images.scan",
    "train_heads": "training.train_heads",
    "verify_store": "maintenance.verify",
    "write_report": "report",
    **dict.fromkeys(
        (
            "ExportError",
            "HeadError",
            "ImagesError",
            "PipelineError",
            "SpecError",
            "StoreBusy",
            "StoreDamaged",
            "StoreError",
            "StoreMismatch",
            "TooManyBadImages",
            "WeightsUnavailable",
        ),
        "errors",
    ),
}
__all__ = sorted(_WHERE)


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'pipeline' has no attribute {name!r}")
    return getattr(import_module(f"pipeline.{_WHERE[name]}"), name)


def __dir__() -> list[str]:
    return [*globals(), *_WHERE]
