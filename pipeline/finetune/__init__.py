"""Fine-tuning from the cache: the layers above a store's cut trained together with a head.

The layers below the cut never run again. First the top layers compute features of all maps once, and
a dense head is trained on them; then top layers and head are trained together in small steps.
"""

from pipeline.finetune.finetune_head import check_cut, finetune_head
from pipeline.finetune.plan import FinetunePlan
from pipeline.finetune.result import FinetunedResult

__all__ = ["FinetunePlan", "FinetunedResult", "check_cut", "finetune_head"]
