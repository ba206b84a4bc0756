"""Make one cell of results/study again, and compare it with the committed one.

    python results/check.py                  a random cell of the first model, 12 items: about a minute on one CPU core
    python results/check.py RUN STATE BENCHMARK [ITEMS]

The state is made from the committed regions and seeds, the items are a subset of the run's. Scores in bfloat16 depend on the
processor and on which items share a batch, so equality is up to that noise, which the run measured (state intact-2).
"""
import random, sys
from pathlib import Path

import pandas as pd
import torch
import yaml

from benchmark_profiling.ablation import Region, ablated, random_like
from benchmark_profiling.evaluation import evaluate, load_tasks
from benchmark_profiling.models import load_model, mlp_parameters

here = Path(__file__).resolve().parent
sys.path.insert(0, str(here))
from study import code_choice
study = here / "study"

def committed_regions(run: str, model) -> dict:
    "Region of every ability, from the run's regions.parquet."
    sizes = {n: p.numel() for n, p in sorted(mlp_parameters(model).items())}   # the order that stored regions have, on which seeds depend
    frame, regions = pd.read_parquet(study / run / "regions.parquet"), {}
    for state, rows in frame.groupby("state"):
        found = dict(zip(rows.tensor, rows["index"]))
        which = torch.cat([torch.full((len(found.get(t, ())),), i) for i, t in enumerate(sizes)])
        position = torch.cat([torch.tensor(found.get(t, [])).long() for t in sizes])
        regions[state] = Region.ranked(list(sizes), which, position, sum(sizes.values()))
    return regions

def remake(run: str, state: str, task: str, items: int = 12) -> pd.DataFrame:
    "Committed and new p_gold of `items` items, and that of the intact model."
    config = yaml.safe_load((study / run / "config.yaml").read_text())
    model, tokenizer = load_model(config["model"], config["dtype"])
    regions = committed_regions(run, model)
    region = regions[state] if state in regions else random_like(list(regions.values()), model, seed=config["seed"] + int(state.rpartition("-")[2]))
    folder = config["data_dir"] and here.parent / config["data_dir"]
    if folder and not folder.exists(): code_choice(folder)
    with ablated(model, region): new = evaluate(model, tokenizer, load_tasks([task], items, folder, config["seed"]), progress=False)
    old = pd.read_parquet(study / run / "outcomes.parquet").query("task == @task").pivot(index="item_id", columns="state", values="p_gold")
    return new.set_index("item_id")[["p_gold"]].rename(columns={"p_gold": "new"}).assign(committed=old[state], intact=old["intact"])

def pick(run: str = "smollm2", seed=None) -> tuple:
    "A random state that is not intact, and a random benchmark."
    cells = pd.read_parquet(study / run / "outcomes.parquet")[["state", "task"]].drop_duplicates()
    cells = sorted((s, t) for s, t in cells.itertuples(index=False) if not s.startswith("intact"))
    return run, *random.Random(seed).choice(cells)

if __name__ == "__main__":
    cell = tuple(sys.argv[1:4]) or pick()
    found = remake(*cell, *map(int, sys.argv[4:5]))
    print(" · ".join(cell)); print(found.round(4).to_string())
    print(f"mean |new − committed| {(found.new - found.committed).abs().mean():.4f}; mean |intact − committed| {(found.intact - found.committed).abs().mean():.4f}")
