"""Heads: small classifiers trained on features, made by name with `make_head`.

The module of a head is imported when the head is first used, so that this one imports neither
TensorFlow nor scikit-learn.
"""

import difflib
import importlib
import inspect
from collections.abc import Iterable
from typing import Any

from pipeline.errors import HeadError

HEADS = {  # name: module and class
    "dense": "pipeline.heads.dense:DenseHead",
    "logistic": "pipeline.heads.logistic_svm_ridge:LogisticHead",
    "svm": "pipeline.heads.logistic_svm_ridge:SVMHead",
    "ridge": "pipeline.heads.logistic_svm_ridge:RidgeHead",
    "knn": "pipeline.heads.knn_forest:KNNHead",
    "forest": "pipeline.heads.knn_forest:ForestHead",
    "mlp": "pipeline.heads.mlp:MLPHead",
}
TUNED_HEADS = {"finetuned": "pipeline.heads.finetuned:FinetunedHead"}  # trained by `pipeline.finetune` only
KERAS_HEADS = ("finetuned", "dense", "logistic", "svm", "ridge", "mlp")  # can be expressed as Keras layers


def head_names() -> list[str]:
    """Return the names of the heads that are trained on features."""
    return list(HEADS)


def head_class(name: str) -> Any:
    """Import and return the class of the head called `name`."""
    modules = {**HEADS, **TUNED_HEADS}
    if name not in modules:
        raise HeadError(f"no head is called {name!r}; there are {', '.join(_closest_first(name, HEADS))}")
    module, _, class_name = modules[name].partition(":")
    return getattr(importlib.import_module(module), class_name)


def head_params(name: str) -> dict[str, Any]:
    """Return the parameters of the head called `name` and their defaults."""
    signature = inspect.signature(head_class(name))
    return {param.name: param.default for param in signature.parameters.values()}


def make_head(name: str, **params: Any) -> Any:
    """Make an untrained head.

    Parameters
    ----------
    name : str
        One of `head_names()`.
    **params
        Parameters of the head, such as `C=0.1`; see `head_params`.

    Returns
    -------
    Head
        A scikit-learn classifier that takes features of shape (n, height, width, channels), or (n, d).

    Raises
    ------
    HeadError
        There is no such head, or it has no such parameter.
    """
    defaults = head_params(name)
    for param in params:
        if param == "class_weight" and param not in defaults:
            raise HeadError(f"{name} takes no class weights; leave class_weight out or use another head")
        if param not in defaults:
            raise HeadError(f"{name} has no parameter {param!r}; it has {', '.join(_closest_first(param, defaults))}")
    return head_class(name)(**params)


def _closest_first(name: str, names: Iterable[str]) -> list[str]:
    names = list(names)
    close = difflib.get_close_matches(name, names, n=len(names))
    return close + [other for other in names if other not in close]
