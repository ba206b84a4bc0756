"""A whole quickstart profile's evaluation against the reference's way: for each state save a checkpoint,
start lm-eval's command line on it, read its samples. Same model, items and states; scores are compared item
by item.

    python benchmarks/whole_profile.py [--limit 50] [--states 2] [--data-dir FOLDER]

`--states` states are measured both ways (the intact model and random regions), and each way's time is
extrapolated to the quickstart's 1 + abilities + controls states; the model is loaded once here and once a
state there.
"""

import argparse, contextlib, json, os, shutil, subprocess, sys, tempfile, time
from pathlib import Path

import pandas as pd
import torch
from benchmark_profiling.ablation import Region, ablated, random_like
from benchmark_profiling.evaluation import PackedLM, evaluate, load_tasks, main_metric, quiet, task_files
from benchmark_profiling.models import load_model, mlp_parameters
from benchmark_profiling.run import Config


def clocks():
    "Seconds of the wall clock, and of the processor in this process and its finished children."
    t = os.times()
    return pd.Series({"wall s": time.perf_counter(), "processor s": sum(t[:4])})


def state(model, region):
    return ablated(model, region) if region else contextlib.nullcontext()


def write_task(task, folder):
    "lm-eval's definition of a task with our rows, under a name of its own."
    rows = folder / f"{task.benchmark}.jsonl"
    rows.write_text("".join(json.dumps(i.doc) + "\n" for i in task.items))
    splits = {
        s for k in ("training_split", "validation_split", "test_split") if (s := getattr(task.config, k))
    }
    (folder / f"ours_{task.benchmark}.yaml").write_text(
        json.dumps(
            {
                "include": str(task_files()[task.benchmark]),
                "task": f"ours_{task.benchmark}",
                "tag": None,
                "dataset_path": "json",
                "dataset_name": None,
                "dataset_kwargs": {"data_files": {s: str(rows) for s in sorted(splits)}},
            }
        )
    )


def reference(model, tokenizer, region, tasks, folder, dtype, batch_size):
    "task -> scores in the order of the items: a checkpoint, a new process, and its samples."
    out = folder / "out"
    with state(model, region):
        model.save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    subprocess.run(
        [
            sys.executable,
            "-m",
            "lm_eval",
            "run",
            "--model",
            "hf",
            "--model_args",
            f"pretrained={folder / 'model'},dtype={dtype}",
            "--tasks",
            ",".join(f"ours_{t.benchmark}" for t in tasks),
            "--include_path",
            str(folder),
            "--batch_size",
            str(batch_size),
            "--output_path",
            str(out),
            "--log_samples",
        ],
        check=True,
        capture_output=True,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )
    scores = {}
    for t in tasks:
        samples = [
            json.loads(line)
            for line in next(out.rglob(f"samples_ours_{t.benchmark}_*.jsonl")).read_text().splitlines()
        ]
        scores[t.benchmark] = [
            s[main_metric(t).split(",")[0]] for s in sorted(samples, key=lambda s: s["doc_id"])
        ]
    shutil.rmtree(out)
    shutil.rmtree(folder / "model")
    return scores


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    c = Config()
    p.add_argument("--model", default=c.model)
    p.add_argument("--tasks", nargs="+", default=c.tasks)
    p.add_argument("--limit", type=int, default=c.limit)
    p.add_argument("--states", type=int, default=2, help="measured both ways")
    p.add_argument("--batch-size", type=int, default=8, help="of lm-eval's command line")
    p.add_argument("--data-dir")
    a = p.parse_args()
    folder, whole = Path(tempfile.mkdtemp()), 1 + len(c.abilities) + c.controls
    start = clocks()
    model, tokenizer = load_model(a.model, dtype="float32", device="cpu")
    tasks = load_tasks(a.tasks, a.limit, a.data_dir)
    with quiet():
        lm = PackedLM(model, tokenizer=tokenizer)
    once = clocks() - start
    weights = mlp_parameters(model)
    counts = torch.tensor([w.numel() // 1000 for w in weights.values()])
    some = Region.ranked(
        list(weights),
        torch.arange(len(counts)).repeat_interleave(counts),
        torch.cat([torch.arange(n) for n in counts]),
        sum(w.numel() for w in weights.values()),
    )
    regions = [None, *(random_like(some, model, seed) for seed in range(a.states - 1))]
    for t in tasks:
        write_task(t, folder)
    ours, theirs, different = [], [], 0
    for region in regions:
        start = clocks()
        with state(model, region):
            mine = evaluate(lm, None, tasks, progress=False)
        middle = clocks()
        scores = reference(model, tokenizer, region, tasks, folder, "float32", a.batch_size)
        ours.append(middle - start)
        theirs.append(clocks() - middle)
        for t in tasks:
            by_id = mine[mine.task == t.benchmark].set_index("item_id").score
            different += sum(by_id[i.id] != s for i, s in zip(t.items, scores[t.benchmark]))
    shutil.rmtree(folder)
    ours, theirs = pd.DataFrame(ours).mean(), pd.DataFrame(theirs).mean()
    table = pd.DataFrame(
        {
            "once, ours": once,
            "a state, ours": ours,
            "a state, reference": theirs,
            "whole, ours": once + whole * ours,
            "whole, reference": whole * theirs,
        }
    ).T
    print(table.round(1).to_string())
    print(
        f"ratio {(whole * theirs / (once + whole * ours)).round(2).to_dict()} for {whole} states, "
        f"from {a.states} measured; "
        f"{a.limit} items of {', '.join(a.tasks)}; {torch.get_num_threads()} threads; "
        f"{different} of {a.states * sum(len(t.items) for t in tasks)} scores different"
    )


if __name__ == "__main__":
    main()
