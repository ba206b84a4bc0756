"What other strangers brought: regions and maps that do not belong together, or cannot be ranked: one line."

import pytest
import torch
from transformers import AutoModelForCausalLM

from benchmark_profiling.ablation import ablated, pooled, select
from benchmark_profiling.importance import Scores
from benchmark_profiling.kinds import mlp_parameters


def refused(call, *args, **kwargs) -> str:
    with pytest.raises((ValueError, TypeError, OSError)) as e:
        call(*args, **kwargs)
    assert "\n" not in str(e.value)
    return str(e.value)


# regions and maps


def scores_of(model, **meta):
    torch.manual_seed(0)
    whole = dict(ability="x", model_numel=sum(p.numel() for p in model.parameters()))
    return Scores({n: torch.rand_like(p) for n, p in mlp_parameters(model).items()}, whole | meta)


def like(model, **changes):
    config = type(model.config).from_dict(model.config.to_dict() | changes)
    return AutoModelForCausalLM.from_config(config).eval()


@pytest.mark.parametrize("changes", [{"num_hidden_layers": 3}, {"vocab_size": 1000}])
def test_a_larger_model_with_the_same_tensors_is_another_model(tiny, changes):
    larger, mine = like(tiny[0], **changes), scores_of(tiny[0])
    region = select(mine, 0.1)
    for of in (region, region.union(select(scores_of(tiny[0], ability="y"), 0.05))):
        with ablated(tiny[0], of):
            pass
        said = refused(ablated(larger, of).__enter__)
        assert "the region is of another model: that has" in said and "model_numel" in said
    assert "is of another model" in refused(select, mine, 0.1, protect=scores_of(larger))


@pytest.mark.parametrize(
    "value, words", [(float("nan"), "not finite"), (float("inf"), "not finite"), (-1.0, "go down to -1")]
)
def test_values_that_cannot_be_ranked_are_named_in_every_map(tiny, value, words):
    fine, bad = scores_of(tiny[0]), scores_of(tiny[0])
    name = next(iter(bad.tensors))
    bad.tensors[name][0, 3] = value
    for maps in ((bad, {}), (fine, {"protect": bad}), (fine, {"contrast": bad, "share": 0.0})):
        assert f"{name} " in (said := refused(select, maps[0], 0.1, **maps[1])) and words in said


@pytest.mark.parametrize("share", [60, -1, "0.5", float("nan"), True])
def test_a_share_is_a_number_from_0_to_1(tiny, share):
    mine = scores_of(tiny[0])
    assert "share must be a number from 0 to 1" in refused(
        select, mine, 0.1, contrast=pooled([mine]), share=share
    )
