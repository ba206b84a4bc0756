"""PackedLM against lm-eval's HFLM on each multiple-choice task: same items, model and precision, in turn.

    python benchmarks/evaluation.py --items 30 --repeats 3 [--tasks arc_easy piqa] [--data-dir FOLDER]

Ratios are medians over the repeats of (HFLM seconds / PackedLM seconds); tokenisation is left out on both sides.
`efficiency` is distinct tokens per second (shared beginnings counted once) over the bare rate of the model's
body (no output layer) on full batches, measured in the same run.
"""
import argparse, statistics, time

import pandas as pd
import torch
from lm_eval.models.huggingface import HFLM

from benchmark_profiling.evaluation import SUITES, PackedLM, load_tasks, pack, quiet, tree
from benchmark_profiling.models import load_model

CHOICE = [t for t in dict.fromkeys(SUITES["small"] + SUITES["paper"]) if t not in ("gsm8k", "humaneval", "mbpp")]

def timed(f):
    start = time.perf_counter(); out = f()
    return time.perf_counter() - start, out

@torch.no_grad()
def bare_rate(model, rows=4, width=512):
    "Tokens per second of the model without its output layer."
    ids = torch.randint(0, 1000, (rows, width), generator=torch.Generator().manual_seed(0)).to(model.device)
    return ids.numel()/min(timed(lambda: model.base_model(ids, use_cache=False)[0].sum().item())[0] for _ in range(2))

def compare(name, hf, packed, items, repeats, data_dir):
    items = [i for t in load_tasks(name, items, data_dir) for i in t.items]
    requests = [r for i in items for r in i.requests]
    encoded = [(None, *packed._encode_pair(*r.args)) for r in requests]
    inputs = [tuple((c + e)[:-1]) for _, c, e in encoded]
    distinct = sum(len(tree(r)[0]) for r in pack(list(set(inputs)), packed.row, packed.widest))
    ratios, seconds = [], []
    for n in range(repeats):  # the one that goes first changes from repeat to repeat
        took = {}
        for lm in (hf, packed) if n % 2 == 0 else (packed, hf):
            took[lm], answers = timed(lambda: lm._loglikelihood_tokens(encoded, disable_tqdm=True))
            if lm is hf: a = answers
            else: b = answers
        ratios.append(took[hf]/took[packed]); seconds.append(took[packed])
    rate = distinct/statistics.median(seconds)
    return {"task": name, "options": len(encoded), "tokens": sum(map(len, inputs)), "distinct": distinct,
            "ratio": statistics.median(ratios), "PackedLM s": statistics.median(seconds), "tokens/s": rate,
            "efficiency": rate/bare_rate(packed.model), "max |diff|": max(abs(x[0] - y[0]) for x, y in zip(a, b)),
            "same decisions": decisions(a, items) == decisions(b, items)}

def decisions(answers, items):
    "The likeliest option of each item; for one without options, whether the target was the likeliest text."
    answers, out = iter(answers), []
    for item in items:
        mine = [next(answers) for _ in item.requests]
        out.append(mine[0][1] if len(mine) == 1 else max(range(len(mine)), key=lambda n: mine[n][0]))
    return out

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--model", default="smollm2-135m-instruct")
    p.add_argument("--dtype", default="float32")
    p.add_argument("--tasks", nargs="+", default=CHOICE)
    p.add_argument("--items", type=int, default=100)
    p.add_argument("--repeats", type=int, default=3)
    p.add_argument("--batch-size", type=int, default=8, help="of HFLM")
    p.add_argument("--data-dir")
    a = p.parse_args()
    model, tokenizer = load_model(a.model, dtype=a.dtype)
    with quiet(): hf, packed = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=a.batch_size), PackedLM(model, tokenizer=tokenizer)
    rows = []
    for name in a.tasks:
        try: rows.append(compare(name, hf, packed, a.items, a.repeats, a.data_dir))
        except FileNotFoundError as e: print(f"left out: {e}"); continue
        print(f"{name}: {rows[-1]['ratio']:.2f} times as fast", flush=True)
    print(pd.DataFrame(rows).to_string(index=False, float_format="%.3g"))
    print(f"median ratio {statistics.median(r['ratio'] for r in rows):.2f}, {a.dtype}, {torch.get_num_threads()} threads, {model.device}")

if __name__ == "__main__": main()
