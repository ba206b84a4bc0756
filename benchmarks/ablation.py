"""Selection, switching of states and their size on disk, each against the obvious way.

    python benchmarks/ablation.py [--repeats 5] [--model NAME] [--dtype float32] [--stream 1000000000]

- selection of the top 1.024 % of one score for each MLP weight, against `torch.topk` on the concatenation
of all tensors;
  each in processes of its own. `extra memory` is the largest growth of RSS meanwhile, as a share
   of the scores' size.
- the same from a stream of a billion values that are never in memory together; checked by counting. - a
state of the model, entered and left, against writing a checkpoint and loading it. - what a state takes on
disk, against a checkpoint in float32 and in bfloat16.
"""

import argparse, json, statistics, subprocess, sys, tempfile, time
from pathlib import Path

import pandas as pd
import torch

from transformers.utils import logging as hf_logging

from benchmark_profiling.ablation import ablated, random_like, save_ablated, select, top_positions
from benchmark_profiling.importance import Scores
from benchmark_profiling.models import load_model, mlp_parameters, weights_hash

FRACTION = 0.01024


def timed(f):
    start = time.perf_counter()
    out = f()
    return time.perf_counter() - start, out


def memory(key):
    "`VmRSS` (now) or `VmHWM` (peak) of this process, in bytes."
    with open("/proc/self/status") as f:
        return int(next(l for l in f if l.startswith(key)).split()[1]) * 1024


def watched(f):
    "Seconds, largest growth of memory in bytes, and result of f()."
    with open("/proc/self/clear_refs", "w") as c:
        c.write("5")  # the peak starts anew
    before = memory("VmRSS")
    seconds, out = timed(f)
    return seconds, memory("VmHWM") - before, out


def scores(sizes):
    "Synthetic scores with a long tail, as importance has; float32."
    g = torch.Generator().manual_seed(0)
    return Scores({f"t{i}": torch.rand(n, generator=g).square_().square_() for i, n in enumerate(sizes)})


def by_topk(s):
    return torch.cat([t.reshape(-1) for t in s.tensors.values()]).topk(round(FRACTION * s.numel)).indices


def selection(way, sizes, path):
    "One selection, in this process; the chosen values go to `path`."
    s = scores(sizes)
    select(Scores({"warm": torch.rand(1 << 18)}), FRACTION)
    by_topk(Scores({"warm": torch.rand(1 << 18)}))
    seconds, grown, out = watched(lambda: by_topk(s) if way == "topk" else select(s, FRACTION))
    if way == "select":
        starts = torch.tensor([0, *sizes]).cumsum(0)
        out = torch.cat([ix + start for ix, start in zip(out.indices.values(), starts)])
    torch.save(
        torch.cat([t.reshape(-1) for t in s.tensors.values()])[out].sort().values, path
    )  # values: equal ones may be chosen differently
    print(json.dumps(dict(seconds=seconds, memory=grown / (4 * s.numel))))


def compare_selection(sizes, repeats):
    took = {"topk": [], "select": []}
    with tempfile.TemporaryDirectory() as folder:
        for n in range(repeats):
            for way in list(took)[:: 1 if n % 2 == 0 else -1]:
                command = [
                    sys.executable,
                    __file__,
                    "--way",
                    way,
                    "--sizes",
                    json.dumps(sizes),
                    "--path",
                    f"{folder}/{way}",
                ]
                took[way].append(
                    json.loads(
                        subprocess.run(
                            command, check=True, stdout=subprocess.PIPE, text=True
                        ).stdout.splitlines()[-1]
                    )
                )
        same = torch.equal(*(torch.load(f"{folder}/{way}") for way in took))
    mid = lambda way, key: statistics.median(r[key] for r in took[way])
    ratio = statistics.median(t["seconds"] / s["seconds"] for t, s in zip(took["topk"], took["select"]))
    assert same, "select and torch.topk chose different weights"
    return [
        dict(
            what=f"top {FRACTION:.3%} of {sum(sizes):,}",
            other="torch.topk",
            ours=f"{mid('select', 'seconds'):.2f} s",
            theirs=f"{mid('topk', 'seconds'):.2f} s",
            ratio=ratio,
        ),
        dict(
            what="extra memory (share of the scores)",
            other="torch.topk",
            ours=f"{max(r['memory'] for r in took['select']):.1%}",
            theirs=f"{mid('topk', 'memory'):.1%}",
            ratio=mid("topk", "memory") / mid("select", "memory"),
        ),
    ]


def stream(n, size=1 << 20):
    "The top 1.024 % of n values that are made anew in every pass; checked by counting."

    def chunks():
        for i in range(0, n, size):
            yield torch.rand(min(size, n - i), generator=torch.Generator().manual_seed(i)).square_().square_()

    k = round(FRACTION * n)
    top_positions([torch.rand(1 << 18)], 1000)
    seconds, grown, found = watched(lambda: top_positions(chunks, k))
    found, least, out, start = found.sort().values, [], [], 0
    for c in chunks():  # exact if no value that was left out is larger than one that was taken
        left, right = torch.searchsorted(found, torch.tensor([start, start + len(c)])).tolist()
        taken = torch.zeros(len(c), dtype=torch.bool)
        taken[found[left:right] - start] = True
        least.append(c[taken].min())
        out.append(c[~taken].max())
        start += len(c)
    assert len(found.unique()) == k and min(least) >= max(out), "the stream's selection is not the top"
    return dict(
        what=f"top {FRACTION:.3%} of a stream of {n:,}",
        other="all in memory",
        ours=f"{seconds:.0f} s, {grown / (4 * n):.1%} memory",
        theirs="100% memory",
        ratio=4 * n / max(grown, 1),
    )


def states(a):
    "Switching and disk."
    model, tokenizer = load_model(a.model, dtype=a.dtype)
    hf_logging.disable_progress_bar()
    params = mlp_parameters(model)
    region = random_like(select(Scores({k: torch.rand(p.shape) for k, p in params.items()}), FRACTION), model)
    before, took, size = (
        weights_hash(model),
        [],
        lambda p: sum(f.stat().st_size for f in p.rglob("*") if f.is_file()),
    )

    def switch():
        with ablated(model, region):
            pass

    switch()
    with tempfile.TemporaryDirectory() as folder:
        for n in range(a.repeats):
            pair = [
                timed(switch)[0],
                timed(
                    lambda: (
                        save_ablated(model, tokenizer, region, f"{folder}/{n}"),
                        load_model(f"{folder}/{n}", dtype=a.dtype),
                    )
                )[0],
            ]
            took.append(pair)
        region.save(f"{folder}/region/r.safetensors")
        assert weights_hash(model) == before, "the model is not what it was"
        model.to(torch.float32).save_pretrained(f"{folder}/float32")
        model.to(torch.bfloat16).save_pretrained(f"{folder}/bfloat16")
        disk = {d: size(Path(folder) / d) for d in ("region", "float32", "bfloat16")}
    ours, theirs = (statistics.median(t[i] for t in took) for i in (0, 1))
    return [
        dict(
            what=f"a state, in and out ({region.size:,} weights)",
            other="save + load",
            ours=f"{ours * 1e3:.0f} ms",
            theirs=f"{theirs:.2f} s",
            ratio=statistics.median(b / a for a, b in took),
        ),
        *(
            dict(
                what="a state on disk",
                other=f"{d} checkpoint",
                ours=f"{disk['region'] / 1e6:.2f} MB",
                theirs=f"{disk[d] / 1e6:.0f} MB",
                ratio=disk[d] / disk["region"],
            )
            for d in ("float32", "bfloat16")
        ),
    ]


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--model", default="smollm2-135m-instruct")
    p.add_argument("--dtype", default="float32")
    p.add_argument("--repeats", type=int, default=3)
    p.add_argument("--stream", type=int, default=10**9, help="values in the stream; 0 leaves it out")
    p.add_argument("--way", choices=["topk", "select"], help=argparse.SUPPRESS)
    p.add_argument("--sizes", help=argparse.SUPPRESS)
    p.add_argument("--path", help=argparse.SUPPRESS)
    a = p.parse_args()
    if a.way:
        return selection(a.way, json.loads(a.sizes), a.path)
    sizes = [w.numel() for w in mlp_parameters(load_model(a.model, dtype=a.dtype)[0]).values()]
    rows = compare_selection(sizes, a.repeats) + states(a)
    if a.stream:
        rows.append(stream(a.stream))
    print(
        pd.DataFrame(rows).rename(columns=dict(other="against")).to_string(index=False, float_format="%.3g")
    )
    print(f"medians of {a.repeats} repeats, {a.dtype}, {torch.get_num_threads()} threads")


if __name__ == "__main__":
    main()
