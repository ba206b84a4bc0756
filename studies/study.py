"""The runs that 04_findings reads -> results/study/NAME/{config.yaml, run.json, outcomes.parquet}.

    python studies/study.py              all runs, about eight hours of one CPU core
    python studies/study.py NAME ...     only these (names: see RUNS)
    python studies/study.py above_chance [--rows=FOLDER]    the intact models on other benchmarks

Stopped or killed, a run goes on where it was; two processes may share the work (start the script twice).
Rows of LogiQA and GSM8K come from the hub or from the folder. Everything is evaluated in bfloat16, on a CPU
twice as fast as float32; the noise that this adds is measured (the repeated intact state). The second model
needs `make gemma`.
"""

import os
import shutil
import sys
from itertools import combinations
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from scipy.stats import ttest_1samp
from tqdm import tqdm

from benchmark_profiling.ablation import ablated, overlap
from benchmark_profiling.damage import held_out_text, perplexity
from benchmark_profiling.code_choice import write_code_choice
from benchmark_profiling.datagen import ABILITIES, LEVELS, generate, save_questions
from benchmark_profiling.evaluation import evaluate
from benchmark_profiling.models import load_model
from benchmark_profiling.run import Run, make_config, run_profile

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "results" / "study"
RUN_FOLDER = Path("runs/study")  # paths in the runs' configs are relative to the repository
CODE_FOLDER = RUN_FOLDER / "code"
MODELS = ["smollm2-135m-instruct", "gemma-3-270m"]

# How many items: until the half-width of a cell is about 0.1, see the table in 04_findings.
NARROW = dict(
    arc_easy=800,
    hellaswag=475,
    lambada_openai=300,
    piqa=1060,
    sciq=250,
    mbpp_choice=275,
    humaneval_choice=None,
)
NEAR_CHANCE = dict(commonsense_qa=300, openbookqa=300, boolq=300)  # too near for any number of items
GEMMA = (
    dict.fromkeys(NARROW, 100)
    | dict.fromkeys(["arc_easy", "piqa", "commonsense_qa", "openbookqa"], 300)
    | dict(humaneval_choice=50)
)
FEWER = dict.fromkeys(NARROW, 100) | dict(arc_easy=150, lambada_openai=150, humaneval_choice=50)

KS = [0.00001, 0.00004, 0.00016, 0.00064, 0.00256, 0.01024]
FIVE = [
    "analogical_reasoning",
    "contextual_recall",
    "deductive_reasoning",
    "long_term_knowledge",
    "quantitative_reasoning",
]
SIX = [
    "analogical_reasoning",
    "spatial_reasoning",
    "long_term_knowledge",  # losses on ARC-Easy
    "deductive_reasoning",
    "inductive_reasoning",
    "temporal_reasoning",
]  # gains

SMALL = dict(dtype="bfloat16", questions=100)
MAIN = dict(SMALL, repeat_intact=True, data_dir=CODE_FOLDER)
ON_ARC = dict(SMALL, tasks=["arc_easy"], limit=100)
TWO_SETS = dict(MAIN, repeat_intact=False, questions=50, tasks=list(NARROW), limit=FEWER, controls=0)
LITERAL = dict(ON_ARC, protect="none", k=0.01024, controls=0)  # the paper's recipe

RUNS = {
    "smollm2": dict(MAIN, tasks=[*NARROW, *NEAR_CHANCE], limit=NARROW | NEAR_CHANCE),
    "gemma": dict(MAIN, model="gemma-3-270m", tasks=list(GEMMA), limit=GEMMA),
    "smollm2-paper": dict(LITERAL, questions=50, ks=[*KS, 0.04096]),
    "smollm2-sweep": dict(ON_ARC, ks=KS),
    "smollm2-unions": dict(ON_ARC, unions=[list(pair) for pair in combinations(SIX, 2)]),
    "smollm2-first": dict(
        TWO_SETS, questions_dir=RUN_FOLDER / "questions-first"
    ),  # two sets that share no template
    "smollm2-second": dict(TWO_SETS, questions_dir=RUN_FOLDER / "questions-second"),
    "smollm2-paper-all": dict(
        LITERAL, questions=20, ks=[0.01024], targets="all", abilities=FIVE
    ),  # attention too
}


def write_families(n: int = 600):
    "Two sets of questions for every ability, from disjoint halves of the templates of each level."
    for ability in ABILITIES:
        questions = generate(ability, n, seed=2)
        sources = sorted(set(questions["source"]))
        for start, family in enumerate(["first", "second"]):
            mine = set()
            for level in LEVELS:
                mine.update([source for source in sources if source.endswith(level)][start::2])
            chosen = questions.filter(lambda question, mine=mine: question["source"] in mine)
            save_questions(chosen, RUN_FOLDER / f"questions-{family}" / f"{ability}.jsonl")


def measure_fluency(run, folder):
    "Perplexity of ordinary text that no region was made from, for every state of a k sweep -> fluency.csv."
    text = held_out_text(run.tokenizer, 4)
    rows = [("intact", perplexity(run.model, text))]
    sweep = [state for state in run.states() if state.k is not None]
    for state in tqdm(sweep, "fluency", unit="state"):
        with ablated(run.model, state.make_region()):
            rows.append((state.name, perplexity(run.model, text)))
    pd.DataFrame(rows, columns=["state", "perplexity"]).round(4).to_csv(folder / "fluency.csv", index=False)


def ability_regions(run) -> dict:
    "Region of every ability of a run."
    return {state: region for state, region in run.regions().items() if state in ABILITIES}


def keep_regions(run, folder):
    "The weights of every ability's region, sorted so that they pack well -> regions.parquet."
    rows = []
    for state, region in ability_regions(run).items():
        for tensor, index in region.indices.items():
            if len(index):
                rows.append(dict(state=state, tensor=tensor, index=index.sort().values.numpy()))
    schema = pa.schema([("state", pa.string()), ("tensor", pa.string()), ("index", pa.list_(pa.int32()))])
    packing = dict(
        compression="zstd",
        compression_level=19,
        use_dictionary=["state", "tensor"],
        column_encoding={"index.list.element": "DELTA_BINARY_PACKED"},
    )
    pq.write_table(pa.Table.from_pylist(rows, schema), folder / "regions.parquet", **packing)


def write_overlap(run, folder):
    "How many weights do the regions of two question sets share? -> overlap.csv, first set × second set."
    first = Run(make_config("smollm2-first", **RUNS["smollm2-first"]), RUN_FOLDER / "smollm2-first")
    regions = {("first", state): region for state, region in ability_regions(first).items()}
    regions |= {("second", state): region for state, region in ability_regions(run).items()}
    found = overlap(regions, run.model)
    across = [one[0] == "first" and other[0] == "second" for one, other in zip(found.one, found.other)]
    found = found[across]
    found = found.assign(one=[state for _, state in found.one], other=[state for _, state in found.other])
    found.round(6).to_csv(folder / "overlap.csv", index=False)


WRITTEN = ["gsm8k", "humaneval", "mbpp"]
OTHERS = ["arc_challenge", "mmlu", "winogrande", "logiqa", "mbpp_choice", "humaneval_choice", *WRITTEN]


def above_chance(rows=None):
    "The intact models on the benchmarks that are not in the main runs -> above_chance.csv, a line each."
    path = RESULTS / "above_chance.csv"
    done = pd.read_csv(path) if path.exists() else pd.DataFrame(columns=["model", "benchmark"])
    write_code_choice(CODE_FOLDER)
    folders = {"logiqa": rows, "gsm8k": rows}
    for name in MODELS:
        model, tokenizer = load_model(name, "bfloat16")
        for task in OTHERS:
            if ((done.model == name) & (done.benchmark == task)).any():
                continue
            outcomes = evaluate(
                model,
                tokenizer,
                [task],
                limit=20 if task in WRITTEN else 100,
                data_dir=folders.get(task, CODE_FOLDER),
                allow_code_execution=True,
            )
            done = pd.concat(
                [done, pd.DataFrame([summary(name, task, outcomes)]).round(5)], ignore_index=True
            )
            done.to_csv(path, index=False)


def summary(model: str, task: str, outcomes) -> dict:
    "Means over items, and the p-value of being above chance."
    value = outcomes.p_gold if outcomes.p_gold.notna().all() else outcomes.score
    gain = value - outcomes.chance
    p = ttest_1samp(gain, 0, alternative="greater").pvalue if gain.std() else 1.0
    means = outcomes[["score", "p_gold", "chance"]].mean()
    return dict(model=model, benchmark=task, n=len(outcomes), **means, p_above=p)


def make(name: str):
    "One run, and its small files into results/study/."
    settings, folder = RUNS[name], RESULTS / name
    if "questions_dir" in settings and not settings["questions_dir"].exists():
        write_families()
    if "data_dir" in settings and not settings["data_dir"].exists():
        write_code_choice(CODE_FOLDER)
    config = make_config(name, **settings)
    run_profile(config, RUN_FOLDER / name)
    folder.mkdir(parents=True, exist_ok=True)
    for file in ["config.yaml", "run.json", "outcomes.parquet"]:
        shutil.copy(RUN_FOLDER / name / file, folder)
    run = Run(config, RUN_FOLDER / name)
    if config.ks:
        measure_fluency(run, folder)
    if name == "smollm2-second":
        write_overlap(run, folder)
    if name in ("smollm2", "gemma"):
        keep_regions(run, folder)


if __name__ == "__main__":
    os.chdir(ROOT)
    names = [argument for argument in sys.argv[1:] if not argument.startswith("--")]
    if unknown := set(names) - {*RUNS, "above_chance"}:
        raise SystemExit(f"no run {', '.join(sorted(unknown))}; there are {', '.join(RUNS)}, above_chance")
    rows_folder = next(
        (argument.partition("=")[2] for argument in sys.argv if argument.startswith("--rows=")), None
    )
    for name in names or [*RUNS, "above_chance"]:
        if name == "above_chance":
            above_chance(rows_folder)
        else:
            make(name)
