"""`FinetunedResult`: a fine-tuned head with its scores before and after."""

from dataclasses import dataclass, field
from typing import Any

from pipeline.training.trained_head import TrainedHead


@dataclass(frozen=True)
class FinetunedResult(TrainedHead):
    """A fine-tuned head with its scores, and the scores of the same model before tuning."""

    cut: str = ""  # the layer whose output the store holds; the layers above it were trained
    frozen: dict[str, Any] = field(default_factory=dict)  # scores and `fit_seconds` of the head tuning started from
    seconds_per_epoch: float = 0.0  # median over the epochs
    kept_epoch: int = 0  # the epoch whose weights were kept; 0 if no epoch was better than the start

    def metrics(self) -> dict[str, Any]:
        """Return the scores and everything else but the estimator, for JSON."""
        return {
            **super().metrics(),
            "way": "fine-tuned",
            "cut": self.cut,
            "frozen": self.frozen,
            "seconds_per_epoch": round(self.seconds_per_epoch, 3),
            "kept_epoch": self.kept_epoch,
        }
