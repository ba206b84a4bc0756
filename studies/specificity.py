"""Does switching off an ability's region hurt that ability most? Default recipe, held-out questions ->
results/specificity/.

    python studies/specificity.py [MODEL ...]

Rows: the region that is switched off (an ability's, or a random control). Columns: change of the loss
(nats) on each ability's questions that no region was made from, and of the log perplexity of held-out
ordinary text. About 40 minutes a model on one core; the regions resume, and are shared with a run in
runs/quickstart.
"""

import json
import sys
from pathlib import Path

from benchmark_profiling.damage import choice_loss, held_out_text, specificity
from benchmark_profiling.datagen import ABILITIES, generate
from benchmark_profiling.run import Run, make_config

N, SEED = 30, 1  # the default config makes its regions from 40 questions an ability, seed 0
ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "results" / "specificity"


def held_out_questions(run) -> dict:
    "Questions of every ability that no region of the run was made from."
    known = {question["id"] for ability in ABILITIES for question in run.questions(ability)}
    return {
        ability: [q for q in generate(ability, N, seed=SEED) if q["id"] not in known] for ability in ABILITIES
    }


def make(name: str):
    "One model."
    run = Run(make_config(model=name), ROOT / "runs" / ("quickstart" if name.startswith("smollm2") else name))
    regions, questions = run.regions(), held_out_questions(run)
    style = run.facts["prompt_style"]
    matrix = specificity(
        run.model, run.tokenizer, regions, questions, style, encoded=held_out_text(run.tokenizer)
    )
    RESULTS.mkdir(exist_ok=True)
    matrix.to_csv(RESULTS / f"{name}.csv", float_format="%.6g")
    intact = {
        ability: round(choice_loss(run.model, run.tokenizer, some, style), 4)
        for ability, some in questions.items()
    }
    facts = dict(
        run.provenance(),
        held_out={ability: len(some) for ability, some in questions.items()},
        held_out_seed=SEED,
        intact_loss=intact,
    )
    (RESULTS / f"{name}.json").write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    for name in sys.argv[1:] or ["smollm2-135m-instruct", "gemma-3-270m"]:
        make(name)
