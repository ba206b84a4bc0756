"""The runs that 04_findings reads -> results/study/NAME/{config.yaml, run.json, outcomes.parquet}.

    python results/study.py              all runs, about eight hours of one CPU core; stopped or killed, it goes on where it was
    python results/study.py NAME ...     only these (names: see RUNS)
    python results/study.py above_chance [--rows=FOLDER]    the intact models on other benchmarks; rows of LogiQA and GSM8K come from the hub or a folder

Everything is evaluated in bfloat16, on a CPU twice as fast as float32; the noise that this adds is measured (state intact-2).
Two processes may share the work: start the script twice. The second model needs `make gemma`.
"""
import json, os, random, shutil, sys
from itertools import combinations
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from scipy.stats import ttest_1samp
from tqdm import tqdm

from benchmark_profiling.ablation import ablated, held_out_text, overlap, perplexity
from benchmark_profiling.datagen import ABILITIES, LEVELS, generate, save_questions
from benchmark_profiling.evaluation import evaluate, find_rows, task_config
from benchmark_profiling.models import load_model
from benchmark_profiling.run import Run, make_config, run_profile

here, runs = Path(__file__).resolve().parent, Path("runs/study")   # paths in the runs' configs are relative to the repository
CHANCE = dict(commonsense_qa=300, openbookqa=300, boolq=300)        # too near chance for any number of items
NARROW = dict(arc_easy=800, hellaswag=475, lambada_openai=300, piqa=1060, sciq=250, mbpp_choice=275, humaneval_choice=None)   # see the table of half-widths
OTHER, WRITTEN = ["arc_challenge", "mmlu", "winogrande"], ["gsm8k", "humaneval", "mbpp"]
KS = [0.00001, 0.00004, 0.00016, 0.00064, 0.00256, 0.01024]
FIVE = ["analogical_reasoning", "contextual_recall", "deductive_reasoning", "long_term_knowledge", "quantitative_reasoning"]
SIX = ["analogical_reasoning", "spatial_reasoning", "long_term_knowledge", "deductive_reasoning", "inductive_reasoning", "temporal_reasoning"]   # three with losses on ARC-Easy, three with gains
small = dict(dtype="bfloat16", questions=100)
main = dict(small, repeat_intact=True, data_dir=runs / "code")
arc = dict(small, tasks=["arc_easy"], limit=100)
seven = dict(main, repeat_intact=False, tasks=list(NARROW), limit=dict(dict.fromkeys(NARROW, 100), arc_easy=150, lambada_openai=150, humaneval_choice=50), controls=0)

RUNS = {
    "smollm2": dict(main, tasks=[*NARROW, *CHANCE], limit=NARROW | CHANCE),
    "gemma": dict(main, model="gemma-3-270m", tasks=[*NARROW, "commonsense_qa", "openbookqa"],
                  limit=dict.fromkeys(NARROW, 100) | dict.fromkeys(["arc_easy", "piqa", "commonsense_qa", "openbookqa"], 300) | dict(humaneval_choice=50)),
    "smollm2-paper": dict(arc, questions=50, protect="none", k=0.01024, ks=[*KS, 0.04096], controls=0),   # the literal recipe
    "smollm2-sweep": dict(arc, ks=KS),
    "smollm2-unions": dict(arc, unions=[list(p) for p in combinations(SIX, 2)]),
    "smollm2-first": dict(seven, questions=50, questions_dir=runs / "questions-first"),    # two question sets that share no template
    "smollm2-second": dict(seven, questions=50, questions_dir=runs / "questions-second"),
    "smollm2-paper-all": dict(arc, questions=20, protect="none", k=0.01024, ks=[0.01024], controls=0, targets="all", abilities=FIVE),   # and from all layers, attention too
}

def families(n: int = 600):
    "Two sets of questions for every ability, from disjoint halves of the templates of each level."
    for ability in ABILITIES:
        questions = generate(ability, n, seed=2)
        names = {level: sorted({s for s in questions["source"] if s.endswith(level)}) for level in LEVELS}
        for i, family in enumerate(["first", "second"]):
            mine = {s for level in LEVELS for s in names[level][i::2]}
            save_questions(questions.filter(lambda q: q["source"] in mine), runs / f"questions-{family}" / f"{ability}.jsonl")

def _rows(task): return find_rows(task, task_config(task, allow_code_execution=True))[0]

def code_choice(folder: Path = runs / "code", longest: int = 200):
    "Two code benchmarks that a small model can take: a request of MBPP or HumanEval, its solution, and the solutions of three other requests."
    mbpp = [(str(r["task_id"]), f"# {r['text']}\n", r["code"]) for r in _rows("mbpp")]
    humaneval = [(r["task_id"], r["prompt"], r["canonical_solution"]) for r in _rows("humaneval")]
    folder.mkdir(parents=True, exist_ok=True)
    for task, items in {"mbpp_choice": mbpp, "humaneval_choice": humaneval}.items():
        items, rng, out = [i for i in items if len(i[2]) <= longest], random.Random(0), []
        for name, text, code in items:
            options = [code, *rng.sample([c for _, _, c in items if c != code], 3)]
            order = rng.sample(range(4), 4)
            out.append(dict(id=name, text=text, options=[options[i] for i in order], answer=order.index(0)))
        (folder / f"{task}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in out))
        (folder / f"{task}.yaml").write_text(yaml.safe_dump(dict(
            task=task, output_type="multiple_choice", test_split="test", doc_to_text="{{text}}", target_delimiter="", doc_to_choice="{{options}}",
            doc_to_target="answer", metric_list=[dict(metric="acc_norm", aggregation="mean", higher_is_better=True)])))

def fluency(run, folder):
    "Perplexity of ordinary text that no region was made from, for every state of a k sweep -> fluency.csv."
    text = held_out_text(run.tokenizer, 4)
    rows = [("intact", perplexity(run.model, text))]
    for state in tqdm([s for s in run.states() if "@" in s.name], "fluency", unit="state"):
        with ablated(run.model, state.region()): rows.append((state.name, perplexity(run.model, text)))
    pd.DataFrame(rows, columns=["state", "perplexity"]).round(4).to_csv(folder / "fluency.csv", index=False)

def keep_regions(run, folder):
    "The weights of every ability's region, sorted so that they pack well -> regions.parquet; `results/check.py` makes cells again from it."
    rows = [dict(state=s, tensor=t, index=ix.sort().values.numpy()) for s, r in run.regions().items() if s in ABILITIES for t, ix in r.indices.items() if len(ix)]
    schema = pa.schema([("state", pa.string()), ("tensor", pa.string()), ("index", pa.list_(pa.int32()))])
    pq.write_table(pa.Table.from_pylist(rows, schema), folder / "regions.parquet", compression="zstd", compression_level=19, use_dictionary=["state", "tensor"],
                   column_encoding={"index.list.element": "DELTA_BINARY_PACKED"})

def in_common(run, folder):
    "How many weights do the regions of two question sets share? -> overlap.csv, first set × second set."
    first = Run(make_config("smollm2-first", **RUNS["smollm2-first"]), runs / "smollm2-first"); first.load()
    regions = {(family, s): x for family, r in (("first", first), ("second", run)) for s, x in r.regions().items() if s in ABILITIES}
    found = overlap(regions, run.model)
    found = found[[a[0] == "first" and b[0] == "second" for a, b in zip(found.one, found.other)]]
    found.assign(one=[a for _, a in found.one], other=[b for _, b in found.other]).round(6).to_csv(folder / "overlap.csv", index=False)

def above_chance(rows=None):
    "The intact models on the benchmarks that are not in the main runs -> above_chance.csv, a line each."
    path = here / "study" / "above_chance.csv"
    done = pd.read_csv(path) if path.exists() else pd.DataFrame(columns=["model", "benchmark"])
    code_choice()
    for name in ["smollm2-135m-instruct", "gemma-3-270m"]:
        model, tokenizer = load_model(name, "bfloat16")
        for task in [*OTHER, "logiqa", "mbpp_choice", "humaneval_choice", *WRITTEN]:
            if ((done.model == name) & (done.benchmark == task)).any(): continue
            n, folder = 20 if task in WRITTEN else 100, {"logiqa": rows, "gsm8k": rows}.get(task, runs / "code")
            y = evaluate(model, tokenizer, [task], limit=n, data_dir=folder, allow_code_execution=True)
            gain = (y.p_gold if y.p_gold.notna().all() else y.score) - y.chance
            p = ttest_1samp(gain, 0, alternative="greater").pvalue if gain.std() else 1.0
            line = dict(model=name, benchmark=task, n=len(y), score=y.score.mean(), p_gold=y.p_gold.mean(), chance=y.chance.mean(), p_above=p)
            done = pd.concat([done, pd.DataFrame([line]).round(5)], ignore_index=True)
            done.to_csv(path, index=False)

def make(name: str):
    "One run, and its small files into results/study/."
    if "questions_dir" in RUNS[name] and not RUNS[name]["questions_dir"].exists(): families()
    if "data_dir" in RUNS[name] and not RUNS[name]["data_dir"].exists(): code_choice()
    config, folder = make_config(name, **RUNS[name]), here / "study" / name
    run_profile(config, runs / name)
    folder.mkdir(parents=True, exist_ok=True)
    for file in ["config.yaml", "run.json", "outcomes.parquet"]: shutil.copy(runs / name / file, folder)
    run = Run(config, runs / name); run.load()
    if config.ks: fluency(run, folder)
    if name == "smollm2-second": in_common(run, folder)
    if name in ("smollm2", "gemma"): keep_regions(run, folder)

if __name__ == "__main__":
    os.chdir(here.parent)
    names = [a for a in sys.argv[1:] if not a.startswith("--")]
    if unknown := set(names) - {*RUNS, "above_chance"}: raise SystemExit(f"no run {', '.join(sorted(unknown))}; there are {', '.join(RUNS)}, above_chance")
    for name in names or [*RUNS, "above_chance"]:
        if name == "above_chance": above_chance(next((a.partition("=")[2] for a in sys.argv if a.startswith("--rows=")), None))
        else: make(name)
