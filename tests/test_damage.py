"What a model loses without a region; and what is not finite is named."

import math

import pytest
import torch

from benchmark_profiling.ablation import ablated, random_like, select
from benchmark_profiling.damage import (
    PROMPTS,
    NotFinite,
    calibrate_k,
    choice_loss,
    continuations,
    curve_k,
    draw_specificity,
    fluency,
    measure_k,
    perplexity,
    specificity,
)
from benchmark_profiling.importance import Scores, encode_text
from benchmark_profiling.models import mlp_parameters, weights_hash

TEXT = ["The sun rose over the quiet hills, and somebody laughed.", "It was late."]


def some_region(model, fraction):
    return select(Scores({k: torch.rand(p.shape) for k, p in mlp_parameters(model).items()}), fraction)


@pytest.fixture
def asked():
    from benchmark_profiling.datagen import generate

    return {a: generate(a, 3, seed=0) for a in ("spatial_reasoning", "temporal_reasoning")}


def test_fluency_and_curve(tiny, asked):
    model, tok = tiny
    text = encode_text(tok, TEXT[:1])
    region = some_region(model, 0.2)
    f = fluency(model, tok, text, PROMPTS[:1], tokens=12)
    assert (
        f["perplexity"] == perplexity(model, text) and 0 < f["distinct_2"] <= 1 and 0 <= f["repetition"] < 1
    )
    made = continuations(model, tok, PROMPTS[:1], 12)
    assert [len(m) for m in made] == [12] and made == continuations(model, tok, PROMPTS[:1], 12)
    table = curve_k(
        model, tok, {"a": region, "small": region.top(0.05)}, [0.05, 0.2], asked["spatial_reasoning"], text
    )
    rows = [("intact", 0.0), ("a", 0.05), ("a", 0.2), ("small", 0.05)]
    assert list(zip(table.region, table.k)) == rows
    assert table.perplexity[0] == f["perplexity"] and table.loss[1] == table.loss[3]


def test_specificity(tiny, asked):
    model, tok = tiny
    before, text = weights_hash(model), encode_text(tok, TEXT[:1])
    region = random_like(some_region(model, 0.5), model)
    regions = {"spatial_reasoning": region, "nothing": region.minus(region)}
    table = specificity(model, tok, regions, asked, encoded=text)
    assert (
        list(table) == [*asked, "ordinary text"]
        and (table.loc["nothing"] == 0).all()
        and weights_hash(model) == before
    )
    intact = {a: choice_loss(model, tok, q) for a, q in asked.items()}
    with ablated(model, region):
        for a, q in asked.items():
            change = choice_loss(model, tok, q) - intact[a]
            assert change == pytest.approx(table.loc["spatial_reasoning", a], abs=1e-6)
    ax = draw_specificity(table, n=3)
    assert len(ax.patches) == 1 and "n = 3" in ax.get_xlabel()


@pytest.fixture
def broken(tiny):
    "A model that gives NaN."
    tiny[0].model.norm.weight.data[0] = float("nan")
    return tiny


def test_a_model_that_gives_nan_is_named(broken, asked):
    model, tok = broken
    text, region = encode_text(tok, TEXT), some_region(model, 0.1)
    with pytest.raises(NotFinite, match=r"the loss of text \d of 2 is not finite: the model gives NaN"):
        perplexity(model, text)
    with pytest.raises(NotFinite, match="of 2 is not finite"):
        fluency(model, tok, text, PROMPTS[:1], tokens=4)
    with pytest.raises(NotFinite, match="the loss of question .+ is not finite"):
        choice_loss(model, tok, asked["spatial_reasoning"])
    for use in (
        lambda: measure_k(model, {"a": region}, text),
        lambda: calibrate_k(model, {"a": region}, text),
        lambda: specificity(model, tok, {"a": region}, asked),
        lambda: curve_k(model, tok, {"a": region}, [0.1], asked["spatial_reasoning"], text),
    ):
        with pytest.raises(NotFinite, match="the intact model: the loss of") as e:
            use()
        assert "\n" not in str(e.value)


@pytest.fixture
def breaking(tiny):
    "A model that gives NaN without one weight: a division by it."
    model, tok = tiny
    weight = model.get_parameter("model.layers.1.mlp.down_proj.weight")

    def hook(m, args, out):
        return out * (weight[0, 0] / weight[0, 0])

    model.model.layers[1].mlp.down_proj.register_forward_hook(hook)
    scores = Scores({k: torch.ones(p.shape) for k, p in mlp_parameters(model).items()})
    scores.tensors["model.layers.1.mlp.down_proj.weight"][0, 0] = 2
    return model, tok, select(scores, 0.1)


def test_a_region_without_which_there_is_nan_is_infinite_harm_not_none(breaking, asked):
    model, tok, region = breaking
    text = encode_text(tok, TEXT)
    table = measure_k(model, {"a": region}, text)
    assert table.perplexity[0] == table.rise[0] == math.inf
    with pytest.raises(ValueError, match="a: even k = .* more than the budget of 20%"):
        calibrate_k(model, {"a": region}, text)
    curve = curve_k(model, tok, {"a": region}, [0.1], asked["spatial_reasoning"], text)
    assert math.isfinite(curve.loss[0]) and curve.loss[1] == curve.perplexity[1] == math.inf
    with pytest.warns(
        UserWarning, match="without a, spatial_reasoning: the loss of question .* is not finite"
    ):
        matrix = specificity(model, tok, {"a": region}, asked, encoded=text)
    assert (matrix == math.inf).all(axis=None)
    draw_specificity(matrix)


def test_wrong_types_end_in_one_line_with_the_way_out(tiny, asked):
    model, tok = tiny
    text, region = encode_text(tok, TEXT), some_region(model, 0.1)
    questions = asked["spatial_reasoning"]
    for use, said in (
        (lambda: perplexity(model, TEXT), r"encode_text\(tokenizer, texts\)"),
        (lambda: measure_k(model, region, text), "by name, such as .* not as a Region"),
        (lambda: calibrate_k(model, [region], text), "by name, such as .* not as a list"),
        (lambda: specificity(model, tok, {"a": region}, questions), "questions are given by ability"),
        (lambda: choice_loss(model, tok, questions[:2]), r"questions.select\(range\(n\)\)"),
    ):
        with pytest.raises(TypeError, match=said):
            use()
    with pytest.raises(ValueError, match="at least one text"):
        perplexity(model, [])
    with pytest.raises(ValueError, match="at least one question"):
        choice_loss(model, tok, [])
