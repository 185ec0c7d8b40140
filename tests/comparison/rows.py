"""Rows of a comparison for tests."""

from pipeline.comparison import ComparedRow


def row(name: str, accuracy: float | None, ms: float | None = 1.0, **more: object) -> ComparedRow:
    """Return a row with scores."""
    values = {"accuracy_interval": None if accuracy is None else (accuracy - 0.02, min(accuracy + 0.02, 1.0))}
    values |= {"model_mb": 2.0, "estimated_seconds": 60.0, "feature_mb": 0.1, "head": "logistic", **more}
    return ComparedRow(name, name, "96", "float32", accuracy=accuracy, ms=ms, **values)
