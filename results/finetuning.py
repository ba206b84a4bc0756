"""Does narrow fine-tuning gain little? Three small fine-tunings with the same budget -> results/finetuning/ARM.parquet.

    python results/finetuning.py

SmolLM2-135M-Instruct learns from questions of one ability, from questions of all ten in equal parts, or from program text (the
Python standard library), each for the same number of steps and of tokens a step. Then every model answers six of the benchmarks.
About an hour on one CPU core; a finished arm is not made again.
"""
import inspect, importlib, json, random
from importlib import metadata
from pathlib import Path

import torch
from tqdm import tqdm

from benchmark_profiling.datagen import ABILITIES, generate
from benchmark_profiling.evaluation import evaluate
from benchmark_profiling.importance import Encoded, answer_nll, encode, render
from benchmark_profiling.models import load_model
from study import code_choice, runs

MODEL, STEPS, TOKENS, LR, SEED = "smollm2-135m-instruct", 200, 128, 2e-5, 0
TASKS, LIMIT = ["arc_easy", "hellaswag", "lambada_openai", "mbpp_choice", "piqa", "sciq"], 120
MODULES = ["argparse", "ast", "asyncio.base_events", "collections", "configparser", "csv", "ctypes.util", "dataclasses", "datetime", "decimal",
           "difflib", "email.message", "enum", "fractions", "functools", "heapq", "html.parser", "http.client", "inspect", "json.decoder",
           "logging", "mailbox", "optparse", "pathlib", "pickle", "random", "shutil", "smtplib", "statistics", "subprocess", "tarfile",
           "textwrap", "threading", "tokenize", "traceback", "typing", "unittest.mock", "urllib.request", "uuid", "zipfile"]
here = Path(__file__).resolve().parent / "finetuning"

def questions(abilities, tokenizer):
    "Prompt and right answer; the answer's tokens are learnt."
    for ability in abilities:
        for q in generate(ability, 2000 // len(abilities), seed=3):
            prompt, options = render(q, "cloze")
            yield encode(tokenizer, prompt, options[q["answer"]])

def programs(tokenizer):
    "Pieces of 128 tokens of the standard library; all tokens are learnt."
    for name in MODULES:
        ids = tokenizer(inspect.getsource(importlib.import_module(name)))["input_ids"]
        for i in range(0, len(ids) - 128, 128): yield Encoded(ids[i:i + 128], 1)

ARMS = {"one ability": lambda tok: questions(["quantitative_reasoning"], tok), "ten abilities": lambda tok: questions(list(ABILITIES), tok), "programs": programs}

def tune(model, texts):
    "STEPS steps of AdamW on about TOKENS tokens each; weights in float32, products in bfloat16. Returns the mean loss a token."
    optimizer = torch.optim.AdamW(model.parameters(), lr=LR, weight_decay=0, foreach=False)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LR, STEPS + 1, pct_start=0.1)
    rng, losses, todo = random.Random(SEED), [], []
    for _ in tqdm(range(STEPS), unit="step"):
        batch = []
        while sum(len(e.ids) for e in batch) < TOKENS:
            todo = todo or rng.sample(texts, len(texts))
            batch.append(todo.pop())
        with torch.autocast("cpu", torch.bfloat16): nll, count = answer_nll(model, batch)
        loss = nll.sum() / count.sum()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step(); schedule.step(); optimizer.zero_grad()
        losses.append(loss.item())
    return losses

if __name__ == "__main__":
    here.mkdir(exist_ok=True)
    programs_by_choice = here.parent.parent / runs / "code"
    code_choice(programs_by_choice)
    for arm in ["intact", *ARMS]:
        part = here / f"{arm.replace(' ', '-')}.parquet"
        if part.exists(): continue
        torch.manual_seed(SEED)
        model, tok = load_model(MODEL, "float32")
        losses = tune(model.train(), list(ARMS[arm](tok))) if arm != "intact" else []
        outcomes = evaluate(model.to(torch.bfloat16).eval(), tok, TASKS, LIMIT, programs_by_choice).assign(state=arm)
        outcomes.attrs.clear()
        outcomes[["state", "task", "item_id", "score", "chance", "p_gold"]].to_parquet(part, index=False)
        facts = dict(model=MODEL, arm=arm, steps=STEPS, tokens_a_step=TOKENS, lr=LR, seed=SEED, limit=LIMIT, losses=[round(x, 4) for x in losses],
                     versions={p: metadata.version(p) for p in ("torch", "transformers", "lm-eval")})
        part.with_suffix(".json").write_text(json.dumps(facts) + "\n")
