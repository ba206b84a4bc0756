"""The same rows through lm-eval's own task class and `simple_evaluate` give the same scores.

Whatever rows and definitions say, it ends in a right score or in one line.
"""

import contextlib
import io
import json
import warnings

import datasets
import pytest
import torch
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lm_eval import simple_evaluate
from lm_eval.api.task import ConfigurableTask
from lm_eval.models.huggingface import HFLM

from benchmark_profiling.evaluation import PackedLM, evaluate, load_tasks, main_metric, quiet
from benchmark_profiling.models import load_model

ACC = [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}]
NORM = [*ACC, {"metric": "acc_norm", "aggregation": "mean", "higher_is_better": True}]
MATCH = [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True, "ignore_case": True}]
CHOICE = {
    "output_type": "multiple_choice",
    "doc_to_text": "Q: {{q}}\nA:",
    "doc_to_choice": "{{opts}}",
    "doc_to_target": "{{a}}",
    "metric_list": ACC,
}
TEXT = {
    "output_type": "generate_until",
    "doc_to_text": "{{q}}",
    "doc_to_target": "{{a}}",
    "metric_list": MATCH,
}
WORDS = ["red", "a green leaf", "blue", "yellow as the sun", "ten", "grey"]


def questions(n=8, start=0):
    return [
        {"q": f"What comes after {k}?", "opts": WORDS[k % 3 : k % 3 + 3], "a": k % 3, "b": "yes", "c": "no"}
        for k in range(start, start + n)
    ]


def changed(**fields):
    "Questions with other fields; each is a function of the question's number."
    return [r | {k: f(n) for k, f in fields.items()} for n, r in enumerate(questions())]


SHAPES = {  # name: (definition, rows, rows of the examples)
    "jinja_choices": (CHOICE, questions(), None),
    "choices_by_field": (CHOICE | {"doc_to_choice": "opts", "doc_to_target": "a"}, questions(), None),
    "choices_in_jinja": (
        CHOICE | {"doc_to_choice": "{{[b, c]}}", "doc_to_target": "{{a % 2}}"},
        questions(),
        None,
    ),
    "dict_options": (
        CHOICE | {"doc_to_choice": {"x": "it is red", "y": 'it\'s "green"', "z": "no"}},
        questions(),
        None,
    ),
    "length_norm": (CHOICE | {"metric_list": NORM}, questions(), None),
    "text_target": (CHOICE | {"doc_to_target": "{{opts[a]}}"}, questions(), None),
    "two_of_three": (CHOICE, changed(a=lambda n: [0, 2]), None),
    "list_field": (
        CHOICE | {"doc_to_target": "a", "metric_list": NORM},
        changed(a=lambda n: [n % 3, 1]),
        None,
    ),
    "numbers": (
        CHOICE | {"doc_to_target": "{{a}}"},
        changed(opts=lambda n: [str(n), str(n + 1), "3.0"]),
        None,
    ),
    "ties": (CHOICE, changed(opts=lambda n: ["same", "same", "other"], a=lambda n: n % 2), None),
    "label_out_of_range": (CHOICE, changed(a=lambda n: 5 if n == 3 else n % 3), None),
    "letters_that_are_none": (CHOICE, changed(a=lambda n: "D"), None),
    "multibyte": (
        CHOICE,
        changed(
            q=lambda n: f"日本語の質問 {n} 🙂?",
            opts=lambda n: ["はい", "いいえ🙂", "né à l'été"],
        ),
        None,
    ),
    "multiple_inputs": (
        CHOICE | {"doc_to_text": "{{a}}", "doc_to_choice": "{{opts}}", "doc_to_target": "{{q}}"},
        questions(),
        None,
    ),
    "no_delimiter": (
        CHOICE
        | {"target_delimiter": "", "doc_to_choice": "{{[' ' ~ b, ' ' ~ c]}}", "doc_to_target": "{{a % 2}}"},
        questions(),
        None,
    ),
    "single_answer": (
        CHOICE | {"output_type": "loglikelihood", "doc_to_choice": None, "doc_to_target": " {{b}}"},
        questions(),
        None,
    ),
    "shots_from_train": (
        CHOICE | {"training_split": "train", "num_fewshot": 3},
        questions(),
        questions(9, 50),
    ),
    "shots_from_validation": (
        CHOICE | {"validation_split": "dev", "num_fewshot": 2},
        questions(),
        questions(9, 50),
    ),
    "shots_by_split": (CHOICE | {"fewshot_split": "dev", "num_fewshot": 2}, questions(), questions(9, 50)),
    "shots_by_config": (
        CHOICE | {"fewshot_config": {"split": "dev", "sampler": "first_n"}, "num_fewshot": 2},
        questions(),
        questions(9, 50),
    ),
    "shots_written": (
        CHOICE | {"fewshot_config": {"sampler": "first_n", "samples": questions(3, 70)}, "num_fewshot": 2},
        questions(),
        None,
    ),
    "shots_from_test": (CHOICE | {"fewshot_split": "test", "num_fewshot": 3}, questions(), "own"),
    "shots_from_own_validation": (
        CHOICE | {"test_split": None, "validation_split": "test", "num_fewshot": 2},
        questions(),
        "own",
    ),
    "texts": (
        TEXT | {"generation_kwargs": {"until": ["\n", "."], "max_gen_toks": 8}},
        changed(a=lambda n: "red"),
        None,
    ),
    "texts_without_stop": (
        TEXT | {"generation_kwargs": {"max_gen_toks": 6, "until": []}},
        changed(a=lambda n: "red"),
        None,
    ),
    "texts_with_filter": (
        TEXT
        | {
            "generation_kwargs": {"until": ["\n\n"], "max_gen_toks": 8},
            "filter_list": [
                {
                    "name": "word",
                    "filter": [
                        {"function": "regex", "regex_pattern": "([a-z]+)"},
                        {"function": "take_first"},
                    ],
                }
            ],
        },
        changed(a=lambda n: ["s", "the"]),
        None,
    ),
    "texts_behind_examples": (
        TEXT
        | {
            "training_split": "train",
            "num_fewshot": 2,
            "generation_kwargs": {"until": ["\n"], "max_gen_toks": 6},
        },
        changed(a=lambda n: "blue"),
        [{"q": f"{n}:", "a": "blue"} for n in range(5)],
    ),
}


@pytest.fixture(scope="module")
def models(tiny_folder):
    model, tokenizer = load_model(tiny_folder, dtype=torch.float32)
    with quiet():
        return PackedLM(model, tokenizer=tokenizer), HFLM(pretrained=model, tokenizer=tokenizer, batch_size=3)


def mine_and_theirs(name, folder):
    "Our task from files, and lm-eval's own from the same rows in the same order."
    config, rows, shots = SHAPES[name]
    config = {"task": name, "test_split": "test", **config}
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(config, allow_unicode=True))
    (folder / f"{name}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    if isinstance(shots, list):
        (folder / f"{name}.fewshot.jsonl").write_text("".join(json.dumps(r) + "\n" for r in shots))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        [mine] = load_tasks(name, data_dir=folder)
    ordered = [next(r for r in rows if r == {k: i.doc[k] for k in r}) for i in mine.items]
    data = {"test": datasets.Dataset.from_list(ordered)}
    if isinstance(shots, list):
        split = next(s for s in (config.get("training_split"), config.get("validation_split"), "dev") if s)
        data[split] = datasets.Dataset.from_list(shots)
    with quiet():
        return mine, ConfigurableTask(config=config | {"custom_dataset": lambda **_: data})


@pytest.fixture(scope="module")
def compared(models, tmp_path_factory):
    "Task name -> our task, our outcomes, lm-eval's samples; lm-eval is asked about all tasks at one time."
    lm, hf = models
    folder = tmp_path_factory.mktemp("shapes")
    pairs = {name: mine_and_theirs(name, folder) for name in SHAPES}
    out = evaluate(lm, None, [mine for mine, _ in pairs.values()], progress=False)
    with quiet(), contextlib.redirect_stderr(io.StringIO()):
        found = simple_evaluate(hf, tasks=[theirs for _, theirs in pairs.values()], bootstrap_iters=0)

    def of(name, filter):
        return sorted((s for s in found["samples"][name] if s["filter"] == filter), key=lambda s: s["doc_id"])

    return {
        name: (
            mine,
            out[out.task == name].set_index("item_id"),
            of(name, mine._filters[0].name),
            found["results"][name],
        )
        for name, (mine, _) in pairs.items()
    }


@pytest.mark.parametrize("name", SHAPES)
def test_scores_of_every_shape_are_lm_evals(name, compared):
    mine, out, samples, results = compared[name]
    metric, own = main_metric(mine).split(",")[0], SHAPES[name][2] == "own"
    assert len(out) == len(samples) == len(mine.items)
    for item, sample in zip(mine.items, samples):
        prompts = [list(r.args) for r in item.requests]
        if own:
            assert item.doc["q"] not in prompts[0][0].rpartition("Q: ")[0]
        else:
            assert (
                prompts == [list(a) for a in sample["arguments"]] and out.score[item.id] == sample[metric]
            ), item.doc
    if not own:
        assert out.score.mean() == pytest.approx(results[main_metric(mine)])
    if not name.startswith("texts"):
        assert out.p_gold.between(0, 1).all()


def test_where_lm_eval_leaves_an_item_out_itself_the_examples_are_its_own(tmp_path):
    rows = questions(12)
    config = CHOICE | {"task": "own", "test_split": "test", "fewshot_split": "test", "num_fewshot": 3}
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(config))
    (tmp_path / "own.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    [mine] = load_tasks("own", data_dir=tmp_path)
    data = {"test": datasets.Dataset.from_list(rows)}
    with quiet():
        theirs = ConfigurableTask(config=config | {"custom_dataset": lambda **_: data})
    theirs.set_fewshot_seed(1234)
    for item in mine.items:
        assert item.requests[0].args[0] == theirs.fewshot_context(item.doc, 3)


def test_a_share_of_probability_has_the_chance_of_a_blind_guess(models, tmp_path):
    "As TruthfulQA's mc2 scores: what lies on the true statements."
    (tmp_path / "scoring.py").write_text(
        "import numpy as np\n\ndef share(doc, results):\n    p = np.exp([r[0] for r in results])\n"
        "    return {'acc': (p / p.sum())[np.array(doc['true']) == 1].sum()}\n"
    )
    rows = changed(true=lambda n: [1, 0, n % 2])
    config = yaml.safe_dump(CHOICE | {"task": "mc2", "test_split": "test", "doc_to_target": 0})
    (tmp_path / "mc2.yaml").write_text(config + "process_results: !function scoring.share\n")
    (tmp_path / "mc2.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    [task] = load_tasks("mc2", data_dir=tmp_path)
    assert [i.chance for i in task.items] == [pytest.approx(sum(i.doc["true"]) / 3) for i in task.items]
    out = evaluate(models[0], None, [task], progress=False)
    assert (out.score - out.p_gold).abs().max() < 1e-9 and out.score.between(0.01, 0.99).any()


# anything at all

LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 4),
    st.just(10**25),
    st.sampled_from([0.5, 1.0, 1e300]),
    st.sampled_from(["", " ", "a", "0", "[0]", "['x', 'y']", "yes\u2028no", "né 🙂", "{{q}}", "{% if"]),
)
VALUES = st.one_of(
    LEAVES, st.lists(LEAVES, max_size=3), st.dictionaries(st.sampled_from("xy"), LEAVES, max_size=2)
)
GOOD = st.builds(
    lambda n, a: {"q": f"Word {n}", "opts": ["one", "two", "three"][: 2 + n % 2], "a": a},
    st.integers(0, 9),
    st.integers(0, 3),
)
ODD = st.builds(
    lambda row, key, value: row | {key: value}, GOOD, st.sampled_from(["q", "opts", "a", "more"]), VALUES
)
SETTINGS = st.dictionaries(
    st.sampled_from(
        [
            "output_type",
            "doc_to_text",
            "doc_to_choice",
            "doc_to_target",
            "metric_list",
            "num_fewshot",
            "fewshot_split",
            "fewshot_config",
            "filter_list",
            "generation_kwargs",
            "target_delimiter",
            "description",
            "test_split",
            "repeats",
            "process_docs",
            "gen_prefix",
            "dataset_kwargs",
            "unknown",
        ]
    ),
    st.one_of(
        VALUES,
        st.sampled_from(
            [
                "generate_until",
                "loglikelihood",
                "q",
                "a",
                "opts",
                "{{opts}}",
                "{{a}}",
                "{{opts[a]}}",
                "test",
                [{"metric": "acc_norm"}],
                [{"metric": "exact_match"}],
                [{"metric": "f1"}],
                [{"metric": "no"}],
                {"samples": questions(2)},
                {"until": ["\n"], "max_gen_toks": 3},
                {"max_gen_toks": 10**6},
            ]
        ),
    ),
    max_size=2,
)


def ends_well(folder, lm, rows, config):
    "A table with one row an item, scores and chances between 0 and 1; or one line."
    (folder / "any.yaml").write_text(yaml.safe_dump(config, allow_unicode=True), encoding="utf8")
    (folder / "any.jsonl").write_text(
        "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows), encoding="utf8"
    )
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        try:
            out = evaluate(lm, None, "any", data_dir=folder, progress=False)
        except (ValueError, OSError) as e:
            assert "\n" not in str(e) and "any" in str(e), str(e)
            return
    assert len(out) == len(rows) and out.item_id.is_unique
    assert (
        out.score.between(0, 1).all()
        and out.chance.between(0, 1).all()
        and out.p_gold.dropna().between(0, 1 + 1e-9).all()
    )


BOUNDS = dict(deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
PLAIN = {"task": "any", "test_split": "test", **CHOICE}


@settings(max_examples=60, **BOUNDS)
@given(rows=st.lists(st.one_of(GOOD, ODD), min_size=1, max_size=4))
def test_any_rows_end_in_a_score_or_in_one_line(rows, models, tmp_path_factory):
    ends_well(tmp_path_factory.mktemp("any"), models[0], rows, PLAIN)


@settings(max_examples=80, **BOUNDS)
@given(rows=st.lists(GOOD, min_size=1, max_size=3), changes=SETTINGS)
def test_any_definition_ends_in_a_score_or_in_one_line(rows, changes, models, tmp_path_factory):
    ends_well(tmp_path_factory.mktemp("any"), models[0], rows, PLAIN | changes)
