"""Small inputs that strangers brought: a right score or one line.

They lie in ../shared/data/cases, and are made anew here where that folder is not there.
"""

import json
import warnings
from pathlib import Path

import pytest
import torch

from benchmark_profiling.evaluation import PackedLM, evaluate, load_tasks, quiet
from benchmark_profiling.rows import task_config

CASES = Path(__file__).parents[2] / "shared" / "data" / "cases"
DEFINITION = """task: {name}
test_split: test
output_type: multiple_choice
doc_to_text: "Q: {{{{q}}}}\\nA:"
doc_to_choice: "{{{{opts}}}}"
doc_to_target: "{{{{a}}}}"
metric_list:
  - metric: acc
"""


def sums(options=str, answers=(0, 0, 0, 0)):
    return [
        {"q": f"What is {n}+1?", "opts": [options(n + 1 + k) for k in range(3)], "a": a}
        for n, a in enumerate(answers)
    ]


def animals():
    words = {"barks": 1, "meows": 0, "purrs": 0, "growls": 1}
    return [{"q": f"Which animal {w}?", "opts": ["cat", "dog"], "a": a} for w, a in words.items()]


ROWS = {
    "own_answer_in_prompt": animals(),
    "two_of_three_right": sums(answers=[[0, 2]] * 4),
    "one_label_out_of_range": sums(answers=(0, 0, 0, 0, 3)),
    "answer_letters": [r | {"opts": ["A", "B", "C"], "a": "D"} for r in sums()],
    "empty_option": [
        {"q": "He go", "opts": ["es", "ing"], "a": 0},
        {"q": "They go", "opts": ["es", ""], "a": 1},
    ],
    "null_option": [*sums()[:3], {"q": "What is 9+1?", "opts": ["10", None, "12"], "a": 0}],
    "number_options": sums(options=int),
    "mixed_types": [
        {"q": "What is 0+1?", "opts": ["1", "2"], "a": 0},
        {"q": "What is 1+1?", "opts": ["2", "3"], "a": "B"},
    ],
    "latin1": [{"q": "Café?", "opts": ["yes", "no"], "a": 0}],
    "line_separator_in_text": [
        {"q": q, "opts": ["yes", "no"], "a": 0} for q in ("a\u2028b is one line?", "and\x85this?")
    ],
    "option_longer_than_window": [{"q": "Repeat", "opts": ["word " * 20_000, "no"], "a": 0}],
}


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    if (CASES / "SOURCES.md").exists():
        return CASES
    folder = tmp_path_factory.mktemp("cases")
    for name, rows in ROWS.items():
        text = DEFINITION.format(name=name) + (
            "fewshot_split: test\nnum_fewshot: 2\n" if name.startswith("own") else ""
        )
        (folder / f"{name}.yaml").write_text(text)
        lines = "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows)
        for end in ("", ".fewshot")[: 1 + name.startswith("own")]:
            (folder / f"{name}{end}.jsonl").write_bytes(
                lines.encode("latin1" if name == "latin1" else "utf8")
            )
    return folder


@pytest.fixture
def lm(tiny):
    with quiet():
        return PackedLM(tiny[0], tokenizer=tiny[1])


def refused(call, *args, **kwargs) -> str:
    with pytest.raises((ValueError, OSError)) as e:
        call(*args, **kwargs)
    assert "\n" not in str(e.value)
    return str(e.value)


# an item's own answer


def examples(item):
    return item.requests[0].args[0].rpartition("Q: ")[0]


def test_no_prompt_holds_its_own_item(cases, tmp_path):
    name = "own_answer_in_prompt"
    (tmp_path / f"{name}.yaml").write_bytes(
        (cases / f"{name}.yaml").read_bytes()
    )  # without a file of examples
    (tmp_path / f"{name}.jsonl").write_bytes((cases / f"{name}.jsonl").read_bytes())
    for folder in (cases, tmp_path):
        for shots in (1, 2, 3):
            items = load_tasks(name, data_dir=folder, num_fewshot=shots)[0].items
            assert len(items) == 4
            for item in items:
                assert item.doc["q"] not in examples(item) and examples(item).count("Q: ") == shots


def test_rows_that_a_definition_names_are_left_out_too(cases, tmp_path):
    for split in ("fewshot_split: test", "fewshot_config: {split: test}", ""):
        text = (cases / "own_answer_in_prompt.yaml").read_text().replace("fewshot_split: test", split)
        place = cases / "own_answer_in_prompt.jsonl"
        files = f"dataset_path: json\ndataset_kwargs: {{data_files: {{test: '{place}'}}}}\n"
        (tmp_path / "own_answer_in_prompt.yaml").write_text(text + files)
        for item in load_tasks("own_answer_in_prompt", data_dir=tmp_path)[0].items:
            assert item.doc["q"] not in examples(item)


def test_examples_written_into_a_definition_and_copies_are_left_out(cases, tmp_path):
    copies = [r | {"q": r["q"].upper().replace("?", " ?")} for r in animals()]
    samples = "fewshot_config: {samples: %s}" % json.dumps(copies)
    text = (cases / "own_answer_in_prompt.yaml").read_text().replace("fewshot_split: test", samples)
    (tmp_path / "own_answer_in_prompt.yaml").write_text(text)
    (tmp_path / "own_answer_in_prompt.jsonl").write_bytes((cases / "own_answer_in_prompt.jsonl").read_bytes())
    for item in load_tasks("own_answer_in_prompt", data_dir=tmp_path)[0].items:
        assert (
            item.doc["q"].split()[-1].strip("?").upper() not in examples(item)
            and examples(item).count("Q: ") == 3
        )


def test_too_few_other_rows_are_said(cases):
    said = refused(load_tasks, "own_answer_in_prompt", data_dir=cases, num_fewshot=4)
    for word in ("own_answer_in_prompt", "4 few-shot", "only 3", "num_fewshot=3"):
        assert word in said


# several right options, and answers that are none


def test_chance_and_probability_count_every_right_option(cases, lm):
    out = evaluate(lm, None, "two_of_three_right", data_dir=cases, progress=False)
    assert (out.chance == 2 / 3).all() and len(out) == 4
    task = load_tasks("two_of_three_right", data_dir=cases)[0]
    for item in task.items:
        answers = torch.tensor(
            [a[0] for a in lm.loglikelihood(item.requests, disable_tqdm=True)], dtype=torch.float64
        )
        want = answers.softmax(0)[[0, 2]].sum()
        assert out.set_index("item_id").p_gold[item.id] == pytest.approx(float(want), abs=1e-6)


@pytest.mark.parametrize("name, bad, total", [("one_label_out_of_range", 1, 5), ("answer_letters", 4, 4)])
def test_an_answer_that_is_no_option_counts_as_wrong_and_is_said(cases, lm, name, bad, total):
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        out = evaluate(lm, None, name, data_dir=cases, progress=False)
    [message] = [str(w.message) for w in said if "none of their options" in str(w.message)]
    assert (
        f"{bad} of {total}" in message
        and f"{name}.jsonl, line {5 if bad == 1 else ''}" in message
        and ", a (" in message
    )
    none = out[out.chance == 0]
    assert len(out) == total and len(none) == bad and (none.score == 0).all() and (none.p_gold == 0).all()
    assert (out[out.chance > 0].p_gold > 0).all()


# rows that cannot be asked


@pytest.mark.parametrize(
    "name, line, words",
    [
        ("empty_option", 2, ("opts", "option 2 is empty", "leave the row out")),
        ("null_option", 4, ("opts", "option 2 is null", "leave the row out")),
        ("mixed_types", 2, ("a: is text", "write the same kind")),
        ("latin1", 1, ("not UTF-8", "save the file as UTF-8")),
    ],
)
def test_a_bad_row_is_named_with_line_and_field(cases, name, line, words):
    said = refused(load_tasks, name, data_dir=cases)
    for word in (f"{name}.jsonl, line {line}", *words):
        assert word in said


def test_numbers_as_options_are_text(cases, lm, tmp_path):
    out = evaluate(lm, None, "number_options", data_dir=cases, progress=False)
    (tmp_path / "number_options.yaml").write_bytes((cases / "number_options.yaml").read_bytes())
    (tmp_path / "number_options.jsonl").write_text("".join(json.dumps(r) + "\n" for r in sums()))
    as_text = evaluate(lm, None, "number_options", data_dir=tmp_path, progress=False)
    assert out.equals(as_text) and len(out) == 4


def test_line_separators_do_not_end_a_row(cases, lm):
    assert len(evaluate(lm, None, "line_separator_in_text", data_dir=cases, progress=False)) == 2


# windows, blank prompts, numbers that are none


def test_an_option_longer_than_the_window_is_refused_by_item(cases, lm):
    task = load_tasks("option_longer_than_window", data_dir=cases)[0]
    said = refused(evaluate, lm, None, [task], progress=False)
    for word in ("option_longer_than_window", task.items[0].id, f"{lm.max_length:,}", "shorten"):
        assert word in said


def test_an_ending_may_fill_the_window_and_no_more(lm):
    n = lm.max_length
    for context in (3, 2 * n):
        asked = [(None, list(range(5, 5 + context)), [7] * n)]
        got, want = (
            f(asked, disable_tqdm=True)
            for f in (lm._loglikelihood_tokens, super(PackedLM, lm)._loglikelihood_tokens)
        )
        assert got[0][0] == pytest.approx(want[0][0], rel=1e-4)
        with pytest.raises(ValueError, match="must fit"):
            lm._loglikelihood_tokens([(None, asked[0][1], [7] * (n + 1))])


@pytest.mark.parametrize("prompt", ["", " ", "\n\n", "\t "])
def test_a_blank_prompt_is_scored_after_the_beginning_of_text(lm, tmp_path, prompt):
    text = DEFINITION.format(name="blank").replace('"Q: {{q}}\\nA:"', json.dumps(prompt)).replace("A:", "")
    (tmp_path / "blank.yaml").write_text(text)
    (tmp_path / "blank.jsonl").write_text(json.dumps({"q": "x", "opts": ["yes", "no"], "a": 0}))
    [item] = load_tasks("blank", data_dir=tmp_path)[0].items
    alone = lm.loglikelihood(item.requests, disable_tqdm=True)
    ids = [lm.prefix_token_id, *lm.tok_encode(prompt + " yes", add_special_tokens=False)]
    with torch.no_grad():
        logits = lm.model(torch.tensor([ids])).logits[0].log_softmax(-1)
    want = sum(logits[n, token] for n, token in enumerate(ids[1:]))
    assert alone[0][0] == pytest.approx(float(want), abs=1e-4)
    other = load_tasks("arc_easy", limit=4)[0].items[0].requests
    beside = lm.loglikelihood(item.requests + other, disable_tqdm=True)  # whoever stands beside it
    assert [b[0] for b in beside[:2]] == pytest.approx([a[0] for a in alone], abs=1e-4)


@pytest.mark.parametrize("name", ["two_of_three_right", "gsm8k"])
def test_a_model_that_gives_no_number_is_named(cases, tiny, name):
    task = load_tasks(name, data_dir=cases, limit=3, num_fewshot=0)
    tiny[0].model.layers[0].mlp.down_proj.weight.data[0, 0] = torch.nan
    said = refused(evaluate, *tiny, task, state="broken", progress=False)
    for word in ("state 'broken'", f"task '{name}'", "no finite number", "float32"):
        assert word in said
    assert any(item.id in said for item in task[0].items)


# definitions


def test_files_of_rows_are_looked_for_beside_the_definition(tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    (tmp_path / "rows.json").write_text("".join(json.dumps(r) + "\n" for r in sums()))
    files = "dataset_path: json\ndataset_kwargs: {data_files: {test: rows.json}}\n"
    (tmp_path / "own.yaml").write_text(DEFINITION.format(name="own") + files)
    assert len(load_tasks("own", data_dir=tmp_path)[0].items) == 4
    assert task_config("own", data_dir=Path(".."))["dataset_kwargs"] == {
        "data_files": {"test": str(tmp_path / "rows.json")}
    }


@pytest.mark.parametrize(
    "old, new, words",
    [
        ("metric: acc", "metric: accuracy", ("own.yaml", "unknown metric 'accuracy'", "acc")),
        ("metric: acc", "metric: f1", ("own", "none of acc_norm, acc")),
        ("{{opts}}", "{{opts", ("own.yaml", "doc_to_choice", "no Jinja")),
        (
            "{{opts}}",
            "{{options}}",
            ("own.jsonl, line", "options (doc_to_choice)", "the rows have q, opts, a"),
        ),
        ("{{opts}}", "{{q}}", ("own.jsonl, line", "q (doc_to_choice)")),
        ('"{{opts}}"', "[yes, no]", ("own.yaml", "doc_to_choice", "quotes")),
        ("doc_to_text", "doc_to_txt", ("own.yaml", "lacks doc_to_text")),
        (
            "test_split: test",
            "test_split: test\nnum_fewshots: 2",
            ("own.yaml", "'num_fewshots'", "num_fewshot?"),
        ),
        ("test_split: test", "test_split: test\nnum_fewshot: two", ("own.yaml", "num_fewshot: 'two'")),
        ("multiple_choice", "multiple-choice", ("own.yaml", "output_type", "multiple_choice")),
        ("multiple_choice", "generate_until", ("own.jsonl, line", "cannot be scored")),
    ],
)
def test_what_is_wrong_in_a_definition_is_one_line(tmp_path, old, new, words):
    (tmp_path / "own.jsonl").write_text("".join(json.dumps(r) + "\n" for r in sums()))
    (tmp_path / "own.yaml").write_text(DEFINITION.format(name="own").replace(old, new))
    said = refused(load_tasks, "own", data_dir=tmp_path)
    for word in words:
        assert word in said


def test_names_and_limits_of_a_wrong_kind_are_said(cases, tiny):
    for tasks in ({"arc_easy": 1}, [{"arc_easy": 1}], [3]):
        assert "list of names" in refused(load_tasks, tasks)
    assert "list of names" in refused(evaluate, *tiny, {"arc_easy": 1})
    for limit in (0, -1, True, 2.5, "many"):
        assert "None for all" in refused(load_tasks, "number_options", limit, cases)
    for limit in (None, "all", 100):
        assert len(load_tasks("number_options", limit, cases)[0].items) == 4
