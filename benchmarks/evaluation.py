"""PackedLM against lm-eval's HFLM on each task: same items, model and precision, in turn.

    python benchmarks/evaluation.py --items 30 --repeats 3 [--tasks arc_easy piqa]
                                    [--data-dir FOLDER] [--cpu-time]

Ratios are medians over the repeats of (HFLM seconds / PackedLM seconds); tokenisation of options is left
out on both sides. `efficiency` is distinct tokens per second (each shared beginning counted once) over the
bare rate of the model's body (no output layer) on full batches, measured beside it. For generated text
`distinct` and `efficiency` are left out.
"""

import argparse, json, statistics, tempfile, time
from pathlib import Path

import pandas as pd
import torch
from lm_eval.models.huggingface import HFLM

from benchmark_profiling.evaluation import (
    SUITES,
    PackedLM,
    choose,
    find_rows,
    load_tasks,
    quiet,
    task_config,
    tree,
)
from benchmark_profiling.models import input_device, load_model

CHOICE = [
    t for t in dict.fromkeys(SUITES["small"] + SUITES["paper"]) if t not in ("gsm8k", "humaneval", "mbpp")
]
SUBJECT = "mmlu_moral_scenarios"  # all questions of one MMLU subject have the same five examples before them
CASES = [*CHOICE, *(f"{t}:5" for t in ("arc_challenge", "hellaswag", "mmlu", SUBJECT)), "gsm8k:0", "gsm8k:5"]


def timed(f):
    start = clock()
    out = f()
    return clock() - start, out


@torch.no_grad()
def bare_rate(model, rows=8, width=256):
    "Tokens per second of the model without its output layer."
    ids = torch.randint(0, 1000, (rows, width), generator=torch.Generator().manual_seed(0)).to(
        input_device(model)
    )
    return ids.numel() / min(
        timed(lambda: model.base_model(ids, use_cache=False)[0].sum().item())[0] for _ in range(2)
    )


def tasks_of(case, items, data_dir):
    "Tasks of 'name' or 'name:shots'; shots come from rows that are not evaluated where the source has none."
    name, _, shots = case.partition(":")
    if not int(shots or 0):
        return load_tasks(name, items, data_dir, num_fewshot=0)
    source = "mmlu" if name == SUBJECT else name
    rows, examples, _ = find_rows(source, task_config("mmlu_anatomy" if source == "mmlu" else name), data_dir)
    if name == SUBJECT:
        rows, examples = ([r for r in x if f"mmlu_{r['subject']}" == name] for x in (rows, examples))
    rows = choose(rows)
    folder = Path(tempfile.mkdtemp())
    for end, some in (("", rows[:items]), (".fewshot", examples or rows[items : items + 25])):
        (folder / f"{name}{end}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in some))
    return load_tasks(name, items, folder, num_fewshot=int(shots))


def compare(case, hf, packed, items, repeats, data_dir):
    items = [i for t in tasks_of(case, items, data_dir) for i in t.items]
    requests = [r for i in items for r in i.requests]
    texts = requests[0].request_type == "generate_until"
    encoded = requests if texts else [(None, *packed._encode_pair(*r.args)) for r in requests]

    def ask(lm):
        return (
            lm.generate_until(encoded, disable_tqdm=True)
            if texts
            else lm._loglikelihood_tokens(encoded, disable_tqdm=True)
        )

    ratios, seconds, rates, answers = [], [], [bare_rate(packed.model)], {}
    for n in range(repeats):  # the one that goes first changes from repeat to repeat
        took = {}
        for lm in (hf, packed) if n % 2 == 0 else (packed, hf):
            took[lm], answers[lm] = timed(lambda: ask(lm))
        ratios.append(took[hf] / took[packed])
        seconds.append(took[packed])
    out = {
        "task": case,
        "requests": len(encoded),
        "ratio": statistics.median(ratios),
        "PackedLM s": statistics.median(seconds),
    }
    if texts:
        return out | {"different": sum(a != b for a, b in zip(*answers.values()))}
    inputs = [tuple((c + e)[:-1]) for _, c, e in encoded]
    distinct = len(tree(set(inputs))[0])
    rate, rates = distinct / statistics.median(seconds), [*rates, bare_rate(packed.model)]
    return out | {
        "tokens": sum(map(len, inputs)),
        "distinct": distinct,
        "tokens/s": rate,
        "efficiency": rate / statistics.mean(rates),
        "max |diff|": max(abs(x[0] - y[0]) for x, y in zip(*answers.values())),
        "different": sum(
            a != b for a, b in zip(decisions(answers[hf], items), decisions(answers[packed], items))
        ),
    }


def decisions(answers, items):
    "The likeliest option of each item; for one without options, whether the target was the likeliest text."
    answers, out = iter(answers), []
    for item in items:
        mine = [next(answers) for _ in item.requests]
        out.append(mine[0][1] if len(mine) == 1 else max(range(len(mine)), key=lambda n: mine[n][0]))
    return out


def main():
    global clock
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--model", default="smollm2-135m-instruct")
    p.add_argument("--dtype", default="float32")
    p.add_argument("--tasks", nargs="+", default=CASES, help="name, or name:shots")
    p.add_argument("--items", type=int, default=100)
    p.add_argument("--repeats", type=int, default=3)
    p.add_argument("--batch-size", type=int, default=8, help="of HFLM")
    p.add_argument("--data-dir")
    p.add_argument(
        "--cpu-time",
        action="store_true",
        help="processor seconds of this process, on a machine that others use too",
    )
    a = p.parse_args()
    clock = time.process_time if a.cpu_time else time.perf_counter
    model, tokenizer = load_model(a.model, dtype=a.dtype)
    with quiet():
        hf, packed = (
            HFLM(pretrained=model, tokenizer=tokenizer, batch_size=a.batch_size),
            PackedLM(model, tokenizer=tokenizer),
        )
    rows = []
    for case in a.tasks:
        try:
            rows.append(compare(case, hf, packed, a.items, a.repeats, a.data_dir))
        except FileNotFoundError as e:
            print(f"left out: {e}")
            continue
        print({k: round(v, 5) if isinstance(v, float) else v for k, v in rows[-1].items()}, flush=True)
    table = pd.DataFrame(rows).set_index("task")
    print(table.to_string(float_format="%.3g", na_rep=""))
    zero = table[[":" not in t for t in table.index]]
    if len(zero):
        print(
            f"zero-shot: lowest ratio {zero.ratio.min():.2f}, median {zero.ratio.median():.2f}, "
            f"median efficiency {zero.efficiency.median():.2f}"
        )
    print(
        f"{a.items} items a task, {a.repeats} repeats, {a.dtype}, {torch.get_num_threads()} threads, "
        f"{input_device(model)}"
    )
    if table["max |diff|"].max() > 1e-3 and a.dtype == "float32":
        raise SystemExit("log-likelihoods differ by more than 1e-3")


if __name__ == "__main__":
    main()
