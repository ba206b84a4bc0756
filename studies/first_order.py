"""The quickstart's profile as one backward pass a benchmark predicts it -> results/first_order/.

    python studies/first_order.py

Regions and items are those of the run in runs/quickstart, whose measured outcomes are in
results/quickstart. A few minutes on two cores, if the regions are there.
"""

import json
import time
from pathlib import Path

from benchmark_profiling.evaluation import evaluate
from benchmark_profiling.first_order import first_order
from benchmark_profiling.run import Run, load_config

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "results" / "first_order"


def timed(function, *args) -> tuple:
    "What it gives, and the seconds it took."
    start = time.perf_counter()
    return function(*args), time.perf_counter() - start


if __name__ == "__main__":
    run = Run(load_config(ROOT / "results" / "quickstart" / "config.yaml"), ROOT / "runs" / "quickstart")
    regions = run.regions()
    tasks = [task for some in run.tasks().values() for task in some]
    table, seconds = timed(first_order, run.model, run.tokenizer, tasks, regions)
    _, seconds_evaluate = timed(evaluate, run.model, run.tokenizer, tasks)
    RESULTS.mkdir(exist_ok=True)
    table.to_csv(RESULTS / "quickstart.csv", index=False, float_format="%.6g")
    facts = dict(run.provenance(), seconds=seconds, seconds_evaluate=seconds_evaluate)
    (RESULTS / "quickstart.json").write_text(json.dumps(facts, indent=1) + "\n")
