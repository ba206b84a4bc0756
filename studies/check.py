"""Make one cell of results/study again, and compare it with the committed one.

    python studies/check.py         a random cell of the first model, 12 items: about a minute on one CPU core
    python studies/check.py RUN STATE BENCHMARK [ITEMS]

The state is made from the committed regions and seeds, the items are a subset of the run's. Scores in
bfloat16 depend on the processor and on which items share a batch, so equality is up to that noise, which
the run measured (its repeated intact state).
"""

import random
import sys
from pathlib import Path

import pandas as pd
import torch
import yaml

from benchmark_profiling.ablation import Region, ablated, random_like
from benchmark_profiling.code_choice import write_code_choice
from benchmark_profiling.evaluation import evaluate, load_tasks
from benchmark_profiling.models import load_model, mlp_parameters
from benchmark_profiling.states import StateKind, kinds_by_name

ROOT = Path(__file__).resolve().parent.parent
STUDY = ROOT / "results" / "study"


def committed_regions(run: str, model) -> dict:
    "Region of every ability, from the run's regions.parquet."
    sizes = {
        name: p.numel() for name, p in sorted(mlp_parameters(model).items())
    }  # stored order; seeds depend on it
    regions = {}
    for state, rows in pd.read_parquet(STUDY / run / "regions.parquet").groupby("state"):
        found = dict(zip(rows.tensor, rows["index"]))
        indices = [torch.tensor(found.get(name, [])).long() for name in sizes]
        which = torch.cat([torch.full((len(index),), number) for number, index in enumerate(indices)])
        regions[state] = Region.ranked(list(sizes), which, torch.cat(indices), sum(sizes.values()))
    return regions


def remake(run: str, state: str, task: str, items: int = 12) -> pd.DataFrame:
    "Committed and new p_gold of `items` items, and that of the intact model."
    config = yaml.safe_load((STUDY / run / "config.yaml").read_text())
    model, tokenizer = load_model(config["model"], config["dtype"])
    regions = committed_regions(run, model)
    if state in regions:
        region = regions[state]
    else:
        region = random_like(
            list(regions.values()), model, seed=config["seed"] + int(state.rpartition("-")[2])
        )
    folder = config["data_dir"] and ROOT / config["data_dir"]
    if folder and not folder.exists():
        write_code_choice(folder)
    with ablated(model, region):
        new = evaluate(model, tokenizer, load_tasks([task], items, folder, config["seed"]), progress=False)
    old = pd.read_parquet(STUDY / run / "outcomes.parquet").query("task == @task")
    old = old.pivot(index="item_id", columns="state", values="p_gold")
    new = new.set_index("item_id")[["p_gold"]].rename(columns={"p_gold": "new"})
    return new.assign(committed=old[state], intact=old["intact"])


def pick(run: str = "smollm2", seed=None) -> tuple:
    "A random state without an ability's or random weights, and a random benchmark."
    outcomes = pd.read_parquet(STUDY / run / "outcomes.parquet")[["state", "task"]].drop_duplicates()
    kinds = kinds_by_name(outcomes.state)
    ablated_kinds = (StateKind.ABILITY, StateKind.RANDOM)
    cells = sorted(
        (state, task) for state, task in outcomes.itertuples(index=False) if kinds[state] in ablated_kinds
    )
    return run, *random.Random(seed).choice(cells)


if __name__ == "__main__":
    cell = tuple(sys.argv[1:4]) or pick()
    found = remake(*cell, *map(int, sys.argv[4:5]))
    print(" · ".join(cell))
    print(found.round(4).to_string())
    print(
        f"mean |new − committed| {(found.new - found.committed).abs().mean():.4f}; "
        f"mean |intact − committed| {(found.intact - found.committed).abs().mean():.4f}"
    )
