"""Importance per question against the obvious way: plain backward passes with gradients for all parameters.

    python benchmarks/importance.py --questions 8 --repeats 3 [--model NAME] [--dtype float32]

The obvious way, as in the reference implementation: every question is a text of its own (prompt, right option), the
loss covers all of its tokens, `loss.backward()` fills `.grad` of all parameters, and what it finds is added up in bf16.
Ours is asked for the same quantity (`loss_on="sequence"`), so results can be compared: against the obvious way with sums
in float32 they must agree. Beside it, what a run uses (`loss_on="choice"`: four options a question).
Each measurement is a process of its own; `peak RSS` is its largest resident memory (ru_maxrss), model and libraries included.
Ratios are medians over repeats, in which both ways are timed one after the other, the first changing each time.
"""
import argparse, json, os, resource, statistics, subprocess, sys, tempfile, time

os.environ.setdefault("TQDM_DISABLE", "1")

import pandas as pd
import torch

from benchmark_profiling.datagen import generate
from benchmark_profiling.importance import Scores, encode_options, importance
from benchmark_profiling.models import load_model, mlp_parameters

def obvious(model, tokenizer, questions, sums):
    "Gradients of all parameters, one question at a time; `sums` is the dtype they are added up in."
    params = mlp_parameters(model)
    total = {n: torch.zeros_like(p, dtype=sums) for n, p in model.named_parameters()}
    for q in questions:
        ids = torch.tensor([encode_options(tokenizer, q)[q["answer"]].ids], device=model.device)
        model.zero_grad()
        model(input_ids=ids, labels=ids).loss.backward()
        for n, p in model.named_parameters(): total[n] += p.grad.to(sums)
    return {n: (total[n].float() / len(questions) * p.detach().float()).abs() for n, p in params.items()}

WAYS = {"obvious": lambda m, t, q: obvious(m, t, q, torch.bfloat16), "obvious, float32 sums": lambda m, t, q: obvious(m, t, q, torch.float32),
        "ours": lambda m, t, q: importance(m, t, q, loss_on="sequence").tensors, "ours, as a run does": lambda m, t, q: importance(m, t, q, loss_on="choice", sign="needed").tensors}

def one(way, a):
    "Time and memory of one way, in this process; its scores go to `a.scores`."
    model, tokenizer = load_model(a.model, dtype=a.dtype)
    questions = [q for ability in ("spatial_reasoning", "temporal_reasoning") for q in generate(ability, a.questions // 2, seed=0)]
    with torch.no_grad(): model(input_ids=torch.arange(3, 35, device=model.device)[None])
    start = time.perf_counter()
    tensors = WAYS[way](model, tokenizer, questions)
    seconds, peak = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    if a.scores: Scores(tensors).save(a.scores)
    print(json.dumps(dict(seconds=seconds, peak=peak)))

def run(way, a, scores=""):
    "One way in a process of its own."
    command = [sys.executable, __file__, "--way", way, "--model", a.model, "--dtype", a.dtype, "--questions", str(a.questions), "--scores", scores]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1])

def agreement(path, reference):
    "Largest difference relative to the largest score, and the share of the reference's top 1 % that is found."
    got, want = (torch.cat([t.reshape(-1) for _, t in sorted(Scores.load(p).tensors.items())]) for p in (path, reference))
    k = len(want) // 100
    same = torch.isin(got.topk(k).indices, want.topk(k).indices).float().mean().item()
    return dict(difference=((got - want).abs().max() / want.max()).item(), top=same)

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--model", default="smollm2-135m-instruct")
    p.add_argument("--dtype", default="float32")
    p.add_argument("--questions", type=int, default=8)
    p.add_argument("--repeats", type=int, default=3)
    p.add_argument("--way", choices=list(WAYS), help=argparse.SUPPRESS)
    p.add_argument("--scores", default="", help=argparse.SUPPRESS)
    a = p.parse_args()
    if a.way: return one(a.way, a)
    with tempfile.TemporaryDirectory() as folder:
        path, took = {w: f"{folder}/{i}.safetensors" for i, w in enumerate(WAYS)}, {w: [] for w in WAYS}
        for n in range(a.repeats):
            pair = ["obvious", "ours"] if n % 2 == 0 else ["ours", "obvious"]
            for way in pair + (["obvious, float32 sums", "ours, as a run does"] if not n else []):
                took[way].append(run(way, a, path[way]))
                print(f"{way}: {took[way][-1]['seconds'] / a.questions:.2f} s a question", flush=True)
        rows = []
        for way, runs in took.items():
            seconds, peak = (statistics.median(r[key] for r in runs) for key in ("seconds", "peak"))
            same = agreement(path[way], path["obvious, float32 sums"]) if "run" not in way else {}
            rows.append({"way": way, "s a question": seconds / a.questions, "peak RSS (GB)": peak / 1e9,
                         "max |diff| / max": same.get("difference"), "same top 1 %": same.get("top")})
    print(pd.DataFrame(rows).to_string(index=False, float_format="%.3g", na_rep=""))
    ratio = lambda key: statistics.median(o[key] / m[key] for o, m in zip(took["obvious"], took["ours"]))
    print(f"ours is {ratio('seconds'):.2f} times as fast, with {1 - 1 / ratio('peak'):.0%} less peak RSS; {a.questions} questions, {a.dtype}, {torch.get_num_threads()} threads")
    assert rows[2]["max |diff| / max"] < 1e-3 and rows[2]["same top 1 %"] > 0.999, "the two ways disagree"

if __name__ == "__main__": main()
