"""The quickstart's profile as one backward pass a benchmark predicts it -> results/first_order/.

    python results/first_order.py

Regions and items are those of the run in runs/quickstart, whose measured outcomes are in results/quickstart.
A few minutes on two cores, if the regions are there.
"""
import json, time
from pathlib import Path

from benchmark_profiling.evaluation import evaluate
from benchmark_profiling.first_order import first_order
from benchmark_profiling.run import Run, load_config

here = Path(__file__).parent
run = Run(load_config(here / "quickstart" / "config.yaml"), here.parent / "runs" / "quickstart")
run.load()
regions = run.regions()
tasks = [t for some in run.tasks().values() for t in some]
start = time.perf_counter()
table = first_order(run.model, run.tokenizer, tasks, regions)
seconds = time.perf_counter() - start
start = time.perf_counter()
evaluate(run.model, run.tokenizer, tasks)
facts = dict(seconds=seconds, seconds_evaluate=time.perf_counter() - start)
folder = here / "first_order"
folder.mkdir(exist_ok=True)
table.to_csv(folder / "quickstart.csv", index=False, float_format="%.6g")
(folder / "quickstart.json").write_text(json.dumps(dict(run.provenance(), **facts), indent=1) + "\n")
