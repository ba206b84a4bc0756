"""How many diagnostic questions the embedded models answer, per ability, type and prompt style ->
results/answerability/MODEL.csv

    python studies/answerability.py [MODEL ...]
"""

import json
import platform
import sys
import time
from importlib.metadata import version
from pathlib import Path

import pandas as pd
from tqdm import tqdm

from benchmark_profiling.datagen import ABILITIES, generate
from benchmark_profiling.importance import answerability
from benchmark_profiling.models import load_model

N, SEED = 200, 0
RESULTS = Path(__file__).resolve().parent.parent / "results" / "answerability"


def facts(name: str) -> dict:
    "Where the numbers come from."
    versions = {p: version(p) for p in ("benchmark-profiling", "torch", "transformers")} | {
        "python": platform.python_version()
    }
    return dict(
        model=name,
        questions=N,
        seed=SEED,
        versions=versions,
        machine=f"{platform.system()} {platform.machine()}",
        finished=time.strftime("%Y-%m-%dT%H:%MZ", time.gmtime()),
    )


def make(name: str):
    "One model: one file an ability, so that an interrupted run goes on; then all of them in one."
    parts = RESULTS / f".{name}"
    parts.mkdir(parents=True, exist_ok=True)
    model, tokenizer = load_model(name)
    for ability in tqdm(ABILITIES, desc=name, unit="ability"):
        part = parts / f"{ability}.csv"
        if not part.exists():
            answerability(model, tokenizer, generate(ability, N, seed=SEED)).to_csv(part, index=False)
    table = pd.concat(map(pd.read_csv, sorted(parts.glob("*.csv"))))
    table.query("ability != 'all'").to_csv(RESULTS / f"{name}.csv", index=False)
    (RESULTS / f"{name}.json").write_text(json.dumps(facts(name), indent=1) + "\n")
    for part in parts.glob("*.csv"):
        part.unlink()
    parts.rmdir()


if __name__ == "__main__":
    for name in sys.argv[1:] or ["smollm2-135m-instruct", "gemma-3-270m"]:
        make(name)
