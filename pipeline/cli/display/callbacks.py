"""`ConsoleCallbacks`: the progress of the long functions on the console."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pipeline.cli import console
from pipeline.cli.display.feature_callbacks import FeatureCallbacks
from pipeline.conv_base.load_top_layers import tuning_precision
from pipeline.store import FeatureStore
from pipeline.text import counted, format_duration, format_size

if TYPE_CHECKING:
    from pipeline.base_training import TrainingPlan
    from pipeline.finetune import FinetunePlan


class ConsoleCallbacks(FeatureCallbacks):
    """Shows progress on standard error, results on standard output; leaving the context closes the running bar."""

    # Stage two and fine-tuning

    def head_started(self, name: str) -> None:
        self.close()
        console.note(f"training {name} ...")

    def epoch_done(self, name: str, epoch: int, epochs: int, scores: Mapping[str, float]) -> None:
        if name not in ("finetuned", "conv base"):
            self.progress(name, epoch, epochs, "epochs")
            return
        text = f"epoch {epoch}/{epochs}: loss {scores['loss']:.4f}"
        if "held_out_loss" in scores and name == "conv base":
            text += f", held-out loss {scores['held_out_loss']:.4f}"
        if "val_loss" in scores:
            text += f", validation loss {scores['val_loss']:.4f}, validation accuracy {scores['val_accuracy']:.4f}"
        console.note(text + (f", {scores['seconds']:.1f} s" if "seconds" in scores else ""))

    def head_trained(self, name: str, accuracy: float, seconds: float) -> None:
        self.close()
        console.note(f"trained {name} in {seconds:.1f} s: accuracy {accuracy:.4f}")

    def head_failed(self, name: str, reason: str) -> None:
        self.close()
        super().head_failed(name, reason)

    def finetune_planned(self, plan: FinetunePlan, store: FeatureStore) -> None:
        spec, views = store.conv_base_spec, f" in {plan.views} views" if plan.views > 1 else ""
        self.say(
            f"{store.directory}: {plan.images} train images{views}, features {store.feature_shape} of "
            f"{spec.cut}; {plan.parameters:,} weights above the cut to tune in {tuning_precision(spec)}"
        )
        where = "in a temporary file" if plan.on_disk else "of memory"
        self.say(
            f"first a dense head on the frozen features {plan.feature_shape}: {format_size(plan.feature_bytes)} {where}"
        )

    def frozen_head_trained(self, accuracy: float, reused: bool) -> None:
        source = " (of an earlier run)" if reused else ""
        self.say(f"before tuning{source}: accuracy {accuracy:.4f}")

    def finetune_resumed(self, epochs: int) -> None:
        self.say(f"training continues after epoch {epochs} of an earlier run")

    # Training of a conv base

    def base_training_planned(self, plan: TrainingPlan) -> None:
        held_out = f", {plan.held_out} more to choose the epoch" if plan.held_out else ""
        self.say(
            f"training   {plan.train} images an epoch{held_out}, {plan.validation} validation images; "
            f"{plan.parameters:,} parameters"
        )
        state = "decoded already" if plan.is_decoded else "to write"
        self.say(f"decoded    {format_size(plan.decoded_bytes)} {state} in {plan.directory}, removed at the end")

    # Comparison of conv bases

    def comparison_step_planned(self, step: int, names: Sequence[str], images: int, seconds: float | None) -> None:
        duration = "" if seconds is None else f", about {format_duration(seconds)}"
        self.say(f"step {step}     {counted(len(names), 'spec')} on {images} images each{duration}:")
        for name in names:
            self.say(f"           {name}")

    def comparison_limited(self, names: Sequence[str], seconds: float, left: float) -> None:
        self.say(
            f"budget     {', '.join(names)}: not continued, as about {format_duration(seconds)} more are needed and "
            f"{format_duration(max(left, 0))} are left"
        )

    def spec_started(self, name: str, number: int, total: int) -> None:
        self.close()
        console.note(f"{number}/{total} {name}")

    def spec_failed(self, name: str, reason: str) -> None:
        self.close()
        console.warn(f"{name}: {reason}")
