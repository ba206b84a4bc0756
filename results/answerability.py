"How many diagnostic questions the embedded models answer, per ability, type and prompt style -> results/answerability/<model>.csv"
import json, platform, sys, time
from importlib.metadata import version
from pathlib import Path

import pandas as pd
from benchmark_profiling.datagen import ABILITIES, generate
from benchmark_profiling.importance import answerability
from benchmark_profiling.models import load_model
from tqdm import tqdm

N, SEED = 200, 0
folder = Path(__file__).parent / "answerability"

def facts(name):
    versions = {p: version(p) for p in ("benchmark-profiling", "torch", "transformers")} | {"python": platform.python_version()}
    return dict(model=name, questions=N, seed=SEED, versions=versions, machine=f"{platform.system()} {platform.machine()}", finished=time.strftime("%Y-%m-%dT%H:%MZ", time.gmtime()))

def main(names):
    for name in names:
        parts = folder / f".{name}"   # one file an ability, so that an interrupted run goes on
        parts.mkdir(parents=True, exist_ok=True)
        model, tokenizer = load_model(name)
        for ability in tqdm(ABILITIES, desc=name, unit="ability"):
            part = parts / f"{ability}.csv"
            if not part.exists(): answerability(model, tokenizer, generate(ability, N, seed=SEED)).to_csv(part, index=False)
        pd.concat(map(pd.read_csv, sorted(parts.glob("*.csv")))).query("ability != 'all'").to_csv(folder / f"{name}.csv", index=False)
        (folder / f"{name}.json").write_text(json.dumps(facts(name), indent=1) + "\n")
        for part in parts.glob("*.csv"): part.unlink()
        parts.rmdir()

if __name__ == "__main__": main(sys.argv[1:] or ["smollm2-135m-instruct", "gemma-3-270m"])
