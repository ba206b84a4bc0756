"Examples that are the item itself, in whichever form they come."

import json

import pytest

from benchmark_profiling.tasks import load_tasks

CHOICE = """task: odd
test_split: test
output_type: multiple_choice
doc_to_text: {text}
doc_to_choice: {options}
doc_to_target: "{{{{a}}}}"
metric_list:
  - metric: acc
"""
TEXT = """task: odd
test_split: test
output_type: generate_until
doc_to_text: "Q: {{q}}\\nA:"
doc_to_target: "{{a}}"
generation_kwargs: {until: ["\\n"], max_gen_toks: 8}
metric_list:
  - metric: exact_match
"""
LISTED = '"{{q}}\\nA. {{opts[0]}}\\nB. {{opts[1]}}\\nAnswer:"'


def lines(rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


def choices(text='"Q: {{q}}\\nA:"', options='"{{opts}}"'):
    return CHOICE.format(text=text, options=options)


def sums(n=6, **fields):
    return [{"q": f"What is {i}+1?", "opts": [str(i + 1), str(i + 7)], "a": 0} | fields for i in range(n)]


@pytest.fixture
def folder(tmp_path):
    def write(rows, definition=None, shots=None, name="odd"):
        (tmp_path / "odd.yaml").write_text(definition or choices())
        (tmp_path / f"{name}.jsonl").write_text(lines(rows))
        if shots:
            (tmp_path / f"{name}.fewshot.jsonl").write_text(lines(shots))
        return tmp_path

    return write


def own_questions(folder, **kwargs) -> int:
    "How many prompts ask their own question twice."
    items = load_tasks("odd", data_dir=folder, **kwargs)[0].items
    return sum(item.requests[0].args[0].count(item.doc["q"]) > 1 for item in items)


def test_a_row_with_its_options_dealt_anew_is_no_example(folder):
    other_order = [row | {"opts": row["opts"][::-1], "a": 1} for row in sums()]
    place = folder(sums(), choices(LISTED, '["A", "B"]'), other_order)
    assert own_questions(place, num_fewshot=3) == 0


def test_a_worked_answer_to_the_items_own_question_is_no_example(folder):
    rows = [{"q": f"What is {i}+1?", "a": str(i + 1)} for i in range(6)]
    worked = "".join(f"    - {{q: {row['q']!r}, a: 'one more makes {row['a']}.'}}\n" for row in rows)
    place = folder(rows, TEXT + "num_fewshot: 3\nfewshot_config:\n  samples:\n" + worked)
    assert own_questions(place) == 0


def test_options_that_differ_make_another_question(folder):
    rows = [
        {"q": "Which is a fruit?", "opts": [fruit, "hammer"], "a": 0}
        for fruit in ("fig", "pear", "plum", "kiwi")
    ]
    items = load_tasks("odd", data_dir=folder(rows), num_fewshot=3)[0].items
    assert all(item.requests[0].args[0].count("fruit") == 4 for item in items)
