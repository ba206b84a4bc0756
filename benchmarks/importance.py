"""Importance per question against the obvious way: plain backward passes with gradients for all parameters.

    python benchmarks/importance.py --questions 8 --repeats 3 [--budget 128] [--model NAME] [--dtype float32]

For two losses, the same in both ways: `choice`, which a run uses (the right option against the other
three), and `sequence`, which the reference implementation uses (prompt and right option as one text). The
obvious way takes one question at a time: its options are the rows of a padded batch, logits cover all
positions, `loss.backward()` fills `.grad` of all parameters, and what it finds is added up in bf16, as in
the reference implementation. With sums in float32 it must give what ours gives. Each measurement is a
process of its own; `peak RSS` is its largest resident memory (ru_maxrss), model and libraries included.
Ratios are medians over repeats, in which both ways are timed one after the other, the first changing each
time.
"""

import argparse, json, os, resource, statistics, subprocess, sys, tempfile, time

os.environ.setdefault("TQDM_DISABLE", "1")
import pandas as pd
import torch

from benchmark_profiling.datagen import generate
from benchmark_profiling.importance import Scores, encode_options, importance
from benchmark_profiling.models import load_model, mlp_parameters


def obvious_loss(model, options, answer, loss_on):
    "The loss of one question, each option a row of its own."
    rows = options if loss_on == "choice" else [options[answer]]
    ids, scored = (torch.zeros(len(rows), max(len(r.ids) for r in rows), dtype=torch.long) for _ in range(2))
    mask = torch.zeros_like(ids)
    for i, r in enumerate(rows):
        n, start = len(r.ids), r.start if loss_on == "choice" else 1
        ids[i, :n], mask[i, :n], scored[i, start:n] = torch.tensor(r.ids), 1, 1
    ids, mask, scored = (x.to(model.device) for x in (ids, mask, scored[:, 1:]))
    logp = (
        model(input_ids=ids, attention_mask=mask)
        .logits[:, :-1]
        .float()
        .log_softmax(-1)
        .gather(2, ids[:, 1:, None])[..., 0]
    )
    score = (logp * scored).sum(1) / scored.sum(1)
    return (
        torch.nn.functional.cross_entropy(score[None], torch.tensor([answer], device=score.device))
        if loss_on == "choice"
        else -score[0]
    )


def obvious(model, tokenizer, questions, loss_on, sums):
    "Gradients of all parameters, one question at a time; `sums` is the dtype they are added up in."
    total = {n: torch.zeros_like(p, dtype=sums) for n, p in model.named_parameters()}
    for q in questions:
        model.zero_grad()
        obvious_loss(model, encode_options(tokenizer, q), q["answer"], loss_on).backward()
        for n, p in model.named_parameters():
            total[n] += p.grad.to(sums)
    return {
        n: (total[n].float() / len(questions) * p.detach().float()).abs()
        for n, p in mlp_parameters(model).items()
    }


def measure(way, loss_on, a):
    "Time and memory of one way, in this process; its scores go to `a.scores`."
    model, tokenizer = load_model(a.model, dtype=a.dtype)
    questions = [
        q
        for ability in ("spatial_reasoning", "temporal_reasoning")
        for q in generate(ability, a.questions // 2, seed=0)
    ]
    with torch.no_grad():
        model(input_ids=torch.arange(3, 35, device=model.device)[None])
    start = time.perf_counter()
    if way == "ours":
        tensors = importance(model, tokenizer, questions, loss_on=loss_on, budget=a.budget).tensors
    else:
        tensors = obvious(
            model, tokenizer, questions, loss_on, torch.bfloat16 if way == "obvious" else torch.float32
        )
    seconds, peak = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    Scores(tensors).save(a.scores)
    print(json.dumps(dict(seconds=seconds, peak=peak)))


def run(way, loss_on, a, path):
    "One way in a process of its own."
    settings = [f"--{k}={getattr(a, k)}" for k in ("model", "dtype", "questions", "budget")]
    out = subprocess.run(
        [sys.executable, __file__, *settings, "--way", way, loss_on, "--scores", path],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return json.loads(out.stdout.splitlines()[-1])


def agreement(path, reference):
    "Largest difference relative to the largest score; the share of the reference's top 1 % that is found."
    got, want = (
        torch.cat([t.reshape(-1) for _, t in sorted(Scores.load(p).tensors.items())])
        for p in (path, reference)
    )
    k = len(want) // 100
    return ((got - want).abs().max() / want.max()).item(), torch.isin(
        got.topk(k).indices, want.topk(k).indices
    ).float().mean().item()


def compare(loss_on, a, folder):
    "Rows of the table for one loss, and the two ratios."
    path, took = lambda way: f"{folder}/{way}-{loss_on}.safetensors", dict(obvious=[], ours=[], exact=[])
    for n in range(a.repeats):
        for way in (["obvious", "ours"] if n % 2 == 0 else ["ours", "obvious"]) + ["exact"] * (n == 0):
            took[way].append(run(way, loss_on, a, path(way)))
            print(f"{loss_on}, {way}: {took[way][-1]['seconds'] / a.questions:.2f} s a question", flush=True)
    rows = []
    for way, said in dict(obvious="obvious", exact="obvious, float32 sums", ours="ours").items():
        difference, top = agreement(path(way), path("exact"))
        seconds, peak = (statistics.median(r[key] for r in took[way]) for key in ("seconds", "peak"))
        rows.append(
            {
                "loss": loss_on,
                "way": said,
                "s a question": seconds / a.questions,
                "peak RSS (GB)": peak / 1e9,
                "max |diff| / max": difference,
                "same top 1 %": top,
            }
        )
    assert difference < 1e-3 and top > 0.999, f"the two ways disagree: {rows}"
    return rows, [
        statistics.median(o[key] / m[key] for o, m in zip(took["obvious"], took["ours"]))
        for key in ("seconds", "peak")
    ]


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--model", default="smollm2-135m-instruct")
    p.add_argument("--dtype", default="float32")
    p.add_argument("--questions", type=int, default=8)
    p.add_argument("--repeats", type=int, default=3)
    p.add_argument("--budget", type=int, default=128, help="tokens a batch, ours")
    p.add_argument("--way", nargs=2, help=argparse.SUPPRESS)
    p.add_argument("--scores", help=argparse.SUPPRESS)
    a = p.parse_args()
    if a.way:
        return measure(*a.way, a)
    with tempfile.TemporaryDirectory() as folder:
        found = {loss: compare(loss, a, folder) for loss in ("choice", "sequence")}
    print(
        pd.DataFrame([r for rows, _ in found.values() for r in rows]).to_string(
            index=False, float_format="%.3g"
        )
    )
    for loss, (_, (time_ratio, memory)) in found.items():
        print(f"{loss}: ours is {time_ratio:.2f} times as fast, with {1 - 1 / memory:.0%} less peak RSS")
    print(
        f"medians of {a.repeats} repeats, {a.questions} questions, {a.dtype}, "
        f"{torch.get_num_threads()} threads"
    )


if __name__ == "__main__":
    main()
