"""Does switching off an ability's region hurt that ability most? Default recipe, held-out questions -> results/specificity/.

    python results/specificity.py [MODEL ...]

Rows: the region that is switched off (an ability's, or a random control). Columns: change of the loss (nats) on each ability's
questions that no region was made from, and of the log perplexity of held-out ordinary text.
About 40 minutes a model on one core; the regions resume, and are shared with a run in runs/quickstart.
"""
import json, sys
from pathlib import Path

from benchmark_profiling.ablation import choice_loss, held_out_text, specificity
from benchmark_profiling.datagen import ABILITIES, generate
from benchmark_profiling.run import Run, make_config

N, SEED = 30, 1   # the default config makes its regions from 40 questions an ability, seed 0
here = Path(__file__).parent

for name in sys.argv[1:] or ["smollm2-135m-instruct", "gemma-3-270m"]:
    run = Run(make_config(model=name), here.parent / "runs" / ("quickstart" if name.startswith("smollm2") else name))
    run.load()
    regions = run.regions()
    known = {q["id"] for a in ABILITIES for q in run.questions(a)}
    held_out = {a: [q for q in generate(a, N, seed=SEED) if q["id"] not in known] for a in ABILITIES}
    matrix = specificity(run.model, run.tokenizer, regions, held_out, run.log["prompt_style"], encoded=held_out_text(run.tokenizer))
    folder = here / "specificity"
    folder.mkdir(exist_ok=True)
    matrix.to_csv(folder / f"{name}.csv", float_format="%.6g")
    intact = {a: round(choice_loss(run.model, run.tokenizer, q, run.log["prompt_style"]), 4) for a, q in held_out.items()}
    facts = dict(run.provenance(), held_out={a: len(q) for a, q in held_out.items()}, held_out_seed=SEED, intact_loss=intact)
    (folder / f"{name}.json").write_text(json.dumps(facts, indent=1) + "\n")
