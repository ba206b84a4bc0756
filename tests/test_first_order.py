"First-order profile: the predicted drop is the slope of the measured one, for each task with a gradient."

import json
import pytest, torch

from benchmark_profiling.ablation import random_like, select
from benchmark_profiling.evaluation import evaluate, load_tasks
from benchmark_profiling.first_order import first_order, score_gradient
from benchmark_profiling.importance import Scores
from benchmark_profiling.models import mlp_parameters


@pytest.fixture
def tasks(tmp_path):
    choices = lambda n, m: {"text": [f"it is {n + i}" for i in range(m)], "label": list("ABCD")[:m]}
    rows = dict(
        arc_easy=[
            dict(
                id=str(n), question=f"What comes after {n}?", choices=choices(n + 1, 3 + n % 2), answerKey="A"
            )
            for n in range(5)
        ],
        arc_challenge=[
            dict(id=str(n), question=f"What comes before {n}?", choices=choices(n - 1, 4), answerKey="A")
            for n in range(4)
        ],
        lambada_openai=[dict(text=f"She counted to {n} and then to {n + 1}") for n in range(4)],
        gsm8k=[dict(question="How much is 2 + 2?", answer="#### 4")],
    )
    for name, r in rows.items():
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(x) + "\n" for x in r))
    return {name: load_tasks(name, data_dir=tmp_path, num_fewshot=0) for name in rows}


def test_the_prediction_is_the_slope(tiny, tasks):
    model, tok = tiny[0].double(), tiny[1]
    params = mlp_parameters(model)
    region = select(
        Scores(
            {
                k: torch.rand(p.shape, generator=torch.Generator().manual_seed(i))
                for i, (k, p) in enumerate(params.items())
            }
        ),
        0.3,
    )
    regions, some = (
        {"region": region, "random-0": random_like(region, model)},
        [t for n in ("arc_easy", "arc_challenge", "lambada_openai") for t in tasks[n]],
    )
    table = first_order(model, tok, some, regions, budget=60).set_index(["ability", "benchmark"])
    whole = first_order(model, tok, some, regions, budget=4096).set_index(["ability", "benchmark"])

    def p_gold():
        return evaluate(model, tok, some, progress=False).groupby("task").p_gold.mean()

    intact, h = p_gold(), 0.05
    for name, r in regions.items():
        sides = []
        for s in (-h, h):
            old = {k: p.detach().clone() for k, p in params.items()}
            with torch.no_grad():
                for k, ix in r.indices.items():
                    params[k].view(-1)[ix] *= 1 - s
            sides.append(p_gold())
            with torch.no_grad():
                for k, p in params.items():
                    p.copy_(old[k])
        slope = (sides[0] - sides[1]) / (2 * h)
        for b in intact.index:
            row = table.loc[name, b]
            assert row["drop"] == pytest.approx(slope[b], rel=2e-2, abs=0) and slope[b] != 0
            assert row["base"] == pytest.approx(intact[b], rel=1e-4, abs=0) and whole.loc[name, b][
                "drop"
            ] == pytest.approx(row["drop"], rel=1e-3, abs=0)
            if row["base"] > row["chance"]:
                assert row["ais"] == pytest.approx(row["drop"] / (row["base"] - row["chance"]))
            else:
                assert row["ais"] != row["ais"]


def test_generated_text_is_refused(tiny, tasks):
    with pytest.raises(ValueError, match="gsm8k: the score of generated text has no gradient"):
        score_gradient(*tiny, tasks["gsm8k"], mlp_parameters(tiny[0]))
