"""Fine-tuning from the cache: the layers above a store's cut trained together with a head.

What `--cut` left below never runs again. First the top layers run once over the maps as they are
and a dense head is trained on what they give; then both are trained together in small steps.
"""

from pipeline.finetune.finetune_head import check_cut, finetune_head
from pipeline.finetune.plan import FinetunePlan
from pipeline.finetune.tuning import FinetunedResult

__all__ = ["FinetunePlan", "FinetunedResult", "check_cut", "finetune_head"]
