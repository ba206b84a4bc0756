"""The runs that 04_findings reads -> results/study/NAME/{config.yaml, run.json, outcomes.parquet}.

    python results/study.py              all runs, about six hours on two CPU cores; stopped or killed, it goes on where it was
    python results/study.py NAME ...     only these (names: see RUNS)

Everything is evaluated in bfloat16, on a CPU twice as fast as float32; the noise that this adds is measured (state intact-2).
Two processes may share the work: start the script twice. The second model needs `make gemma`.
"""
import shutil, sys
from pathlib import Path

from benchmark_profiling.datagen import ABILITIES, LEVELS, generate, save_questions
from benchmark_profiling.run import make_config, run_profile

here = Path(__file__).parent
runs = here.parent / "runs" / "study"
SMALL = ["arc_easy", "commonsense_qa", "lambada_openai", "openbookqa", "piqa", "boolq", "hellaswag"]
SHORT = ["arc_easy", "commonsense_qa", "lambada_openai", "openbookqa"]
OTHER = ["arc_challenge", "mmlu", "winogrande"]
KS = [0.00001, 0.00004, 0.00016, 0.00064, 0.00256, 0.01024]
small = dict(dtype="bfloat16", tasks=SMALL, limit=300, questions=100)
few = dict(small, limit=100, questions=50)

RUNS = {
    "smollm2": dict(small, repeat_intact=True),
    "gemma": dict(small, repeat_intact=True, model="gemma-3-270m"),
    "smollm2-paper": dict(few, protect="none", k=0.01024, ks=[*KS, 0.04096], tasks=["arc_easy", "openbookqa"]),   # the literal recipe
    "smollm2-sweep": dict(small, tasks=["arc_easy"], limit=100, ks=KS),
    "smollm2-unions": dict(small, tasks=["arc_easy"], limit=100, unions="pairs"),
    "smollm2-first": dict(few, tasks=SHORT, questions_dir=runs / "questions-first"),    # two question sets that share no template
    "smollm2-second": dict(few, tasks=SHORT, questions_dir=runs / "questions-second"),
    "smollm2-all-weights": dict(few, targets="all", tasks=SHORT),
    "smollm2-other": dict(small, tasks=OTHER),
    "gemma-other": dict(small, tasks=OTHER, model="gemma-3-270m"),
}

def families(n: int = 600):
    "Two sets of questions for every ability, from disjoint halves of the templates of each level."
    for ability in ABILITIES:
        questions = generate(ability, n, seed=2)
        names = {level: sorted({s for s in questions["source"] if s.endswith(level)}) for level in LEVELS}
        for i, family in enumerate(["first", "second"]):
            mine = {s for level in LEVELS for s in names[level][i::2]}
            save_questions(questions.filter(lambda q: q["source"] in mine), runs / f"questions-{family}" / f"{ability}.jsonl")

def make(name: str):
    "One run, and its small files into results/study/."
    if "questions_dir" in RUNS[name] and not RUNS[name]["questions_dir"].exists(): families()
    run_profile(make_config(name, **RUNS[name]), runs / name)
    (here / "study" / name).mkdir(parents=True, exist_ok=True)
    for file in ["config.yaml", "run.json", "outcomes.parquet"]: shutil.copy(runs / name / file, here / "study" / name)

if __name__ == "__main__":
    if unknown := set(sys.argv[1:]) - set(RUNS): raise SystemExit(f"no run {', '.join(sorted(unknown))}; there are {', '.join(RUNS)}")
    for name in sys.argv[1:] or RUNS: make(name)
