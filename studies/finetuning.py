"""Does narrow fine-tuning gain little? Three small fine-tunings with the same budget ->
results/finetuning/ARM.parquet.

    python studies/finetuning.py

SmolLM2-135M-Instruct learns from questions of one ability, from questions of all ten in equal parts, or
from program text (the Python standard library), each for the same number of steps and of tokens a step.
Then every model answers six of the benchmarks. About an hour on one CPU core; a finished arm is not made
again.
"""

import importlib
import inspect
import json
import random
from importlib import metadata
from pathlib import Path

import torch
from tqdm import tqdm

from benchmark_profiling.code_choice import write_code_choice
from benchmark_profiling.datagen import ABILITIES, generate
from benchmark_profiling.evaluation import evaluate
from benchmark_profiling.importance import Encoded, answer_nll, encode, render
from benchmark_profiling.models import load_model

ROOT = Path(__file__).resolve().parent.parent
RESULTS, CODE_FOLDER = ROOT / "results" / "finetuning", ROOT / "runs" / "study" / "code"
MODEL, STEPS, TOKENS, LEARNING_RATE, SEED = "smollm2-135m-instruct", 200, 128, 2e-5, 0
TASKS, LIMIT = ["arc_easy", "hellaswag", "lambada_openai", "mbpp_choice", "piqa", "sciq"], 120
MODULES = """
argparse ast asyncio.base_events collections configparser csv ctypes.util dataclasses datetime decimal
difflib email.message enum fractions functools heapq html.parser http.client inspect json.decoder logging
mailbox optparse pathlib pickle random shutil smtplib statistics subprocess tarfile textwrap threading
tokenize traceback typing unittest.mock urllib.request uuid zipfile
""".split()


def questions(abilities, tokenizer):
    "Prompt and right answer; the answer's tokens are learnt."
    for ability in abilities:
        for question in generate(ability, 2000 // len(abilities), seed=3):
            prompt, options = render(question, "cloze")
            yield encode(tokenizer, prompt, options[question["answer"]])


def programs(tokenizer, length: int = 128):
    "Pieces of the standard library; all tokens are learnt."
    for name in MODULES:
        ids = tokenizer(inspect.getsource(importlib.import_module(name)))["input_ids"]
        for start in range(0, len(ids) - length, length):
            yield Encoded(ids[start : start + length], 1)


ARMS = {
    "one ability": lambda tokenizer: questions(["quantitative_reasoning"], tokenizer),
    "ten abilities": lambda tokenizer: questions(list(ABILITIES), tokenizer),
    "programs": programs,
}


def tune(model, texts) -> list:
    "STEPS steps of AdamW on about TOKENS tokens each; returns the mean loss a token, step by step."
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=0, foreach=False)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, STEPS + 1, pct_start=0.1)
    rng, losses, todo = random.Random(SEED), [], []
    for _ in tqdm(range(STEPS), unit="step"):
        batch = []
        while sum(len(text.ids) for text in batch) < TOKENS:
            todo = todo or rng.sample(texts, len(texts))
            batch.append(todo.pop())
        with torch.autocast("cpu", torch.bfloat16):  # weights stay float32
            nll, count = answer_nll(model, batch)
        loss = nll.sum() / count.sum()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


def make(arm: str, path: Path):
    "Fine-tune, evaluate, and write outcomes and facts."
    torch.manual_seed(SEED)
    model, tokenizer = load_model(MODEL, "float32")
    losses = tune(model.train(), list(ARMS[arm](tokenizer))) if arm in ARMS else []
    model = model.to(torch.bfloat16).eval()
    outcomes = evaluate(model, tokenizer, TASKS, LIMIT, CODE_FOLDER).assign(state=arm)
    outcomes.attrs.clear()
    outcomes[["state", "task", "item_id", "score", "chance", "p_gold"]].to_parquet(path, index=False)
    facts = dict(
        model=MODEL,
        arm=arm,
        steps=STEPS,
        tokens_a_step=TOKENS,
        lr=LEARNING_RATE,
        seed=SEED,
        limit=LIMIT,
        losses=[round(loss, 4) for loss in losses],
        versions={p: metadata.version(p) for p in ("torch", "transformers", "lm-eval")},
    )
    path.with_suffix(".json").write_text(json.dumps(facts) + "\n")


if __name__ == "__main__":
    RESULTS.mkdir(exist_ok=True)
    write_code_choice(CODE_FOLDER)
    for arm in ["intact", *ARMS]:
        path = RESULTS / f"{arm.replace(' ', '-')}.parquet"
        if not path.exists():
            make(arm, path)
