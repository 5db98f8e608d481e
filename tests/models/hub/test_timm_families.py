"""Small models of twenty of timm's files as students; ``tools/timm_models.py --families`` takes one of each file."""

import pytest

from tools.timm_models import check, families

QUICK = (
    "byobnet", "cait", "convnext", "deit", "efficientnet", "efficientvit_msra", "ghostnet", "mambaout", "maxxvit",
    "metaformer", "mlp_mixer", "mobilevit", "nfnet", "pit", "resnet", "shvit", "starnet", "vision_transformer",
    "vision_transformer_relpos", "xcit",
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("module", QUICK)
def test_a_model_of_each_family_can_be_a_student(module):
    check(families()[module])
