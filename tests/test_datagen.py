"The built-in writer's questions are solved again from their text; each fault of a file or a set is provoked."
import json, math, os, pydoc, re, subprocess, sys
from itertools import permutations

import numpy as np
import pandas as pd
import pytest
import yaml
from datasets import Dataset
from hypothesis import given, settings, strategies as st
from typer.testing import CliRunner

from benchmark_profiling import datagen
from benchmark_profiling.abilities import ABILITIES, FIELDS, LEVELS
from benchmark_profiling.abilities import counted, find_ability, gathered, question_faults
from benchmark_profiling.audit import _near_duplicates
from benchmark_profiling.datagen import check_questions, corrupt, data_card
from benchmark_profiling.datagen import generate, load_questions, save_questions
from benchmark_profiling.templates import DAYS, MONTHS, TEMPLATES, capital, facts, template, with_articles

@pytest.fixture(scope="module")
def sets(): return {a: generate(a, 2000, seed=0).to_list() for a in ABILITIES}

def of(sets, *templates):
    "The questions of some templates, each with the text of its right option."
    every = [q for rows in sets.values() for q in rows]
    found = [(q, q["options"][q["answer"]]) for q in every if q["source"].split(":")[2] in templates]
    assert len(found) > 30, templates
    return found

def numbers(text): return [int(x) for x in re.findall(r"\d+", text)]

# --- the sets as a whole

def test_sets_are_distinct_balanced_and_of_two_levels(sets):
    assert len({q["id"] for rows in sets.values() for q in rows}) == 20_000
    for a, rows in sets.items():
        assert len({(q["context"], q["question"], *sorted(q["options"])) for q in rows}) == 2000, a
        assert all(460 <= sum(q["answer"] == k for q in rows) <= 540 for k in range(4)), a
        assert all(len({o.casefold() for o in q["options"]}) == 4 for q in rows), a
        for part in (rows[:200], rows):
            levels = [q["source"].rsplit(":", 1)[1] for q in part]
            assert set(levels) == set(LEVELS) and min(levels.count(x) for x in LEVELS) >= len(part) / 8, a
        assert len(TEMPLATES[a]) >= 10, a

def test_the_builtin_sets_pass_their_own_check(sets):
    for a, rows in sets.items():
        report = check_questions(Dataset.from_list(rows[:800]))
        assert report.ok, report.problems
        assert report.table[["position", "length", "number", "words"]].max().max() <= 0.30, a

def test_prefix_level_and_seed():
    for a in ("spatial_reasoning", "temporal_reasoning"):   # templates run dry here
        long = generate(a, 900).to_list()
        assert generate(a, 300).to_list() == long[:300]
        assert all(q["source"].endswith(":easy") for q in generate(a, 100, level="easy"))
        assert generate(a, 100, seed=1).to_list() != long[:100]
    with pytest.raises(ValueError, match="unknown level 'middling'"):
        generate("spatial_reasoning", 5, level="middling")
    with pytest.raises(ValueError, match="only .* distinct"):
        generate("temporal_reasoning", 5000, level="easy")

BYTES = """
import hashlib, json
from benchmark_profiling.datagen import ABILITIES, corrupt, generate
for a in ABILITIES:
    both = [generate(a, 80).to_list(), corrupt(generate(a, 80)).to_list()]
    print(hashlib.md5(json.dumps(both).encode()).hexdigest())
"""

def test_the_same_bytes_under_every_hash_seed():
    def said(seed):
        env = {**os.environ, "PYTHONHASHSEED": seed}
        return subprocess.check_output([sys.executable, "-c", BYTES], env=env, text=True)
    one = said("1")
    assert one == said("2") and len(one.split()) == 10

def test_each_template_has_a_name_of_its_own():
    "A second template of the same name used to take the place of the first without a word."
    def another(r): return "", "What?", ["a", "b", "c", "d"]
    with pytest.raises(ValueError, match="has a template 'walk' already; give this one another name"):
        template("spatial_reasoning", "spatial_relation", "walk")(another)
    assert TEMPLATES["spatial_reasoning"]["walk"].write is not another

# --- right answers, found again from the text

def test_sums(sets):
    want = {"+": lambda n: n[0] + n[1], "-": lambda n: n[0] - n[1], "times": lambda n: n[0] * n[1],
            "twice": lambda n: 2 * n[0], "half": lambda n: n[0] // 2}
    for q, right in of(sets, "plus", "minus", "times", "double_or_half"):
        text = q["question"]
        solve = next(f for sign, f in want.items() if f" {sign} " in text)
        assert int(right) == solve(numbers(text)), text

def test_word_problems(sets):
    solve = {"sum": sum, "difference": lambda n: n[0] - n[1], "packs": math.prod,
             "share": lambda n: n[0] // n[1],
             "change": lambda n: n[0] - n[1] * n[2], "more_than": sum, "together": sum, "distance": math.prod}
    for name, f in solve.items():
        for q, right in of(sets, name): assert int(right) == f(numbers(q["context"])), q

def test_calculations(sets):
    words = {"-": "gave|lost", "+": " more|in another", "÷": "shares|puts", "×": ""}
    for q, right in of(sets, "which_calculation"):
        sign = next(s for s, w in words.items() if re.search(w, q["context"]))
        assert sign in right and len({o.split()[1] for o in q["options"]}) == 4

def test_most_and_least(sets):
    for q, right in of(sets, "who_has", "most_or_least", "nearest"):
        sentences = q["context"].casefold().split(".")
        amounts = {o: numbers(next(s for s in sentences if o.casefold() in s))[0] for o in q["options"]}
        least = re.search("fewest|least|lightest|newest|nearest|narrowest", q["question"])
        assert right == (min if least else max)(amounts, key=amounts.get), q

def test_calendar(sets):
    count = dict(zip(["no", "one", "two", "three", "four", "five", "six"], range(7)))
    for q, right in of(sets, "weekday", "month"):
        names = DAYS if right in DAYS else MONTHS
        at = names.index(next(x for x in re.findall(r"[A-Z][a-z]+", q["context"])[::-1] if x in names))
        k = next((count[w] for w in q["context"].split() if w in count), 1)
        back = re.search("ago|before", q["context"] + q["question"])
        assert names[(at + (-k if back else k)) % len(names)] == right, q

def minutes(t): return int(t.split(":")[0]) * 60 + int(t.split(":")[1])

def test_clock(sets):
    for q, right in of(sets, "clock_end"):
        time = re.search(r"(\d+:\d\d)", q["context"])[1]
        length = int(re.search(r"(\d+) minutes", q["context"])[1])
        shift = length if "begins" in q["context"] else -length
        assert minutes(right.removeprefix("at ")) == minutes(time) + shift
    for q, right in of(sets, "next_train"):
        *trains, here = map(minutes, re.findall(r"\d+:\d\d", q["context"]))
        assert minutes(right.split()[1]) == min(t for t in trains if t >= here)

def worlds(clues, names):
    return [w for w in permutations(names) if all(w.index(a) < w.index(b) for a, b in clues)]

MORE = "taller|older|heavier|richer|faster|stronger|before"
LAST = "shortest|youngest|lightest|poorest|slowest|weakest|last"

def test_orders_leave_one_answer(sets):
    for q, right in of(sets, "ordering", "arrivals"):
        said = re.finditer(r"(\w+) ((?:is \w+ than|\w+ before|\w+ after)) (\w+)", q["context"])
        clues = [(m[1], m[3]) if re.search(MORE, m[2]) else (m[3], m[1]) for m in said]
        end = -1 if re.search(LAST, q["question"]) else 0
        assert {w[end] for w in worlds(clues, q["options"])} == {right}, q

def test_matching_leaves_one_answer(sets):
    for q, right in of(sets, "matching"):
        names = re.match(r"Of (\w+), (\w+), (\w+) and (\w+),", q["context"]).groups()
        who = re.match(r"Which is true of (\w+)\?", q["question"])[1]
        told = []
        for s in re.split(r"(?<=\.) ", q["context"])[1:]:
            thing = next(o for o in q["options"] if s.rstrip(".").endswith(o))
            told.append((names.index(s.split()[0]), " not " not in s, thing))
        def fits(world): return all((world[i] == thing) == yes for i, yes, thing in told)
        possible = filter(fits, permutations(q["options"]))
        assert {w[names.index(who)] for w in possible} == {right}, q

def test_rules(sets):
    easy = [f"rules_of_{k}" for k in ("town", "house", "forest", "ship")]
    for q, right in of(sets, *easy, *(f"{name}_bare" for name in easy)):
        *rules, fact = re.split(r"(?<=\.) ", q["context"])
        then = dict(re.match(r"If (.+), (.+)\.", r).groups() for r in rules)
        assert right.casefold().endswith(then[fact.removeprefix("Today ").rstrip(".")].casefold())
        assert len(set(then.values())) == 4

def test_one_speaker_tells_the_truth(sets):
    for q, right in of(sets, "one_truth"):
        said = re.findall(r'(\w+) says: "It was (not )?(\w+)\."', q["context"])
        def holds(culprit):
            accused = [(speaker if who == "me" else who, bool(no)) for speaker, no, who in said]
            return sum((who == culprit) != no for who, no in accused)
        assert [n for n in q["options"] if holds(n) == 1] == [right]

def test_patterns_go_on_as_they_began(sets):
    easy = [f"repeating_{kind}" for kind in ("words", "colours", "letters")]
    for q, right in of(sets, *easy, *(f"{name}_bare" for name in easy)):
        shown = [x.strip().casefold() for x in q["context"].removesuffix(", ...").split(",")]
        n = len(shown)
        period = next(p for p in range(1, n) if all(shown[i] == shown[i - p] for i in range(p, n)))
        assert right.split(", ")[-1].casefold() == shown[n - period] and period in (4, 5), q
    for q, right in of(sets, "number_steps", "number_doubling"):
        n = numbers(q["question"])
        if n[2] - n[1] == n[1] - n[0]: assert int(right) == 2 * n[-1] - n[-2]
        else: assert int(right) * n[0] == n[-1] * n[1]

VERBS = "(?:lives|works|keeps|likes|sells|stands|comes)"

def test_recall_has_one_true_statement_and_60_to_200_words(sets):
    for q in sets["contextual_recall"]: assert 60 <= len(q["context"].split()) <= 200
    for q, right in of(sets, "neighbours_statement", "market_statement"):
        told, who = {}, None
        for clause in re.split(r"\. |, | and ", q["context"]):   # one without a name belongs to the last name
            named = re.match(rf"([A-Z]\w+) ({VERBS}\b.*)", clause)
            if named: who = named[1]
            what = named[2] if named else clause
            if re.match(rf"{VERBS}\b", what): told.setdefault(who, set()).add(what.rstrip("."))
        assert [o for o in q["options"] if o.split(" ", 1)[1] in told[o.split()[0]]] == [right], q

def test_compass(sets):
    way = dict(north=(0, 1), east=(1, 0), south=(0, -1), west=(-1, 0))
    back = dict(north="south", south="north", east="west", west="east")
    for q, right in of(sets, "compass"):
        links = re.findall(r"(\w+) is (\w+) of (\w+)", q["context"])
        a, b = re.match(r"In which direction is (\w+) from (\w+)\?", q["question"]).groups()
        step = {(x, y): way[w] for x, w, y in links} | {(y, x): way[back[w]] for x, w, y in links}
        middle = next(x for x, _ in step if (a, x) in step and (x, b) in step)
        total = [step[a, middle][i] + step[middle, b][i] for i in (0, 1)]
        assert total == [2 * x for x in way[right]], q
    for q, right in of(sets, "walk"):
        moves = [(int(n), way[w]) for n, w in re.findall(r"(\d+) steps (\w+)", q["context"])]
        x, y = (sum(n * w[i] for n, w in moves) for i in (0, 1))
        assert 0 in (x, y) and way[right] == ((x > 0) - (x < 0), (y > 0) - (y < 0))

def pairs_of(field):
    "All (key, value) of a field of knowledge."
    if "members" in field: return [(k, v) for v, ks in field["members"].items() for k in ks]
    return [p for g in field.get("groups", [field.get("facts", {})]) for p in g.items()]

def asked_by(field):
    "All (question, right option) that a field of knowledge can ask."
    pairs = pairs_of(field)
    to_value = [(x.format(k=k, v=v), v) for x in field["ask"] for k, v in pairs]
    to_key = [(x.format(k=k, v=v), k) for x in field["back"] for k, v in pairs]
    return [(with_articles(capital(question)), with_articles(right)) for question, right in to_value + to_key]

def test_facts_have_one_right_option(sets):
    right = {}
    for name, field in facts("world").items():
        for question, option in asked_by(field): right.setdefault((name, question), set()).add(option)
    for q in sets["long_term_knowledge"]:
        known = right[q["source"].split(":")[2], q["question"]]
        assert known & set(q["options"]) == {q["options"][q["answer"]]}, q

def test_classes_of_everyday_things_do_not_overlap():
    e = facts("everyday")
    kinds = ["durations", "seasons", "times of day", "frequencies", "ages", "eras", "months"]
    kinds += ["shapes", "motions"]
    for table in (*map(e.get, kinds), *e["places"], *e["body"]):
        things = [t for members in table.values() for t in members]
        assert len(things) == len(set(things))

# --- wrong calls

@pytest.mark.parametrize("args, error, says", [
    (("spatial",), ValueError, "did you mean 'spatial_reasoning'?"),
    (("Spatial Reasoning",), ValueError, "did you mean 'spatial_reasoning'?"),
    (("telepathy",), ValueError, "known: analogical_reasoning, "),
    ((3,), TypeError, "an ability is named by its key, a text such as"),
    ((["spatial_reasoning"],), TypeError, "not by a value of type list"),
    ((ABILITIES["spatial_reasoning"],), TypeError, "not by a value of type Ability"),
    (("spatial_reasoning", "many"), TypeError, "n is a whole number, such as 200, not 'many'"),
    (("spatial_reasoning", 2.5), TypeError, "n is a whole number, such as 200, not 2.5"),
    (("spatial_reasoning", True), TypeError, "n is a whole number"),
    (("spatial_reasoning", 0), ValueError, "n must be at least 1, not 0"),
    (("spatial_reasoning", 5, "x"), TypeError, "seed is a whole number, such as 0, not 'x'"),
    (("spatial_reasoning", 5, 0, ["easy"]), ValueError, "unknown level ['easy']; known: easy, hard"),
])
def test_wrong_calls_say_what_is_wanted(args, error, says):
    with pytest.raises(error, match=re.escape(says)) as e: generate(*args)
    assert "\n" not in str(e.value)

def test_numbers_of_numpy_are_numbers():
    one, two = generate("spatial_reasoning", np.int64(3), np.int64(1)), generate("spatial_reasoning", 3, 1)
    assert one.to_list() == two.to_list()

@pytest.mark.parametrize("call, says", [
    (lambda: load_questions(3), "load_questions takes the name of a file, not a value of type int"),
    (lambda: check_questions("a.jsonl"), "say check_questions(load_questions('a.jsonl'))"),
    (lambda: check_questions(7), "check_questions takes a diagnostic set, not a value of type int"),
    (lambda: find_ability(None), "not by a value of type NoneType")])
def test_wrong_types_say_what_is_wanted(call, says):
    with pytest.raises(TypeError, match=re.escape(says)): call()

def test_help_shows_the_allowed_values():
    shown = pydoc.plain(pydoc.render_doc(generate))
    assert "'easy', 'hard'" in shown and "key of `ABILITIES`" in shown

# --- files

OWN = dict(id="q1", ability="spatial_reasoning", question_type="spatial_relation", context="",
           question="Where?", options=["a", "b", "c", "d"], answer=0, source="me")

def file_of(folder, *rows, encoding="utf-8", name="own.jsonl", between="\n"):
    "A file with a JSON object, or a text as it is, on each line."
    lines = [r if isinstance(r, str) else json.dumps(r, ensure_ascii=False) for r in rows]
    path = folder / name
    path.write_bytes((between.join(lines) + between).encode(encoding))
    return path

def complaint(path):
    with pytest.raises(ValueError) as e: load_questions(path)
    return str(e.value).replace(f"{path.parent}/", "")

def test_there_and_back(tmp_path, sets):
    path = save_questions(Dataset.from_list(sets["contextual_recall"]), tmp_path / "deep" / "recall.jsonl")
    assert load_questions(path).to_list() == load_questions(str(path)).to_list() == sets["contextual_recall"]
    assert [p.name for p in path.parent.iterdir()] == ["recall.jsonl"]   # no temporary file is left

@pytest.mark.parametrize("mark", ["\u2028", "\u2029", "\u0085", "\x0b", "\x1c", "\r"])
def test_line_ends_of_other_kinds_are_part_of_the_text(tmp_path, mark):
    rows = [{**OWN, "question": f"One{mark}two?"}, {**OWN, "id": "q2", "context": f"a{mark}b"}]
    path = file_of(tmp_path, *rows)
    assert [q["question"] for q in load_questions(path)] == [f"One{mark}two?", "Where?"]
    assert load_questions(save_questions(load_questions(path), tmp_path / "again.jsonl")).to_list() == rows

def test_bom_blank_lines_and_windows_line_ends(tmp_path):
    rows = [OWN, {**OWN, "id": "q2"}]
    assert load_questions(file_of(tmp_path, *rows, encoding="utf-8-sig", between="\r\n")).to_list() == rows
    assert load_questions(file_of(tmp_path, "", rows[0], "  ", rows[1], "")).to_list() == rows

def test_numbers_count_as_text(tmp_path):
    rows = [{**OWN, "id": 1, "options": [1, 2, 3.5, -4]}, {**OWN, "id": 2, "options": [1, "2", 3, "four"]}]
    ds = load_questions(file_of(tmp_path, *rows))
    assert ds["options"][:] == [["1", "2", "3.5", "-4"], ["1", "2", "3", "four"]]
    assert ds["id"][:] == ["1", "2"]
    assert check_questions(rows).table.n.sum() == 2   # the same rows without a file: no fault either

@pytest.mark.parametrize("change, says", [
    ({"options": ["a", "b", "", "d"]}, "line 2, options: one is empty; give a list of four different texts"),
    ({"options": ["a", "b", " \n", "d"]}, "line 2, options: one is empty"),
    ({"options": ["a", "b", None, "d"]}, "line 2, options: one is not a text (null)"),
    ({"options": ["a", "b", True, "d"]}, "line 2, options: one is not a text (true)"),
    ({"options": ["a", "b", ["c"], "d"]}, 'line 2, options: one is not a text (["c"])'),
    ({"options": ["a", "b", float("nan"), "d"]}, "line 2, options: one is not a text (NaN)"),
    ({"options": "a, b, c, d"}, 'line 2, options: not a list ("a, b, c, d")'),
    ({"options": None}, "line 2, options: not a list (null)"),
    ({"options": {"a": 1}}, 'line 2, options: not a list ({"a": 1})'),
    ({"options": ["a", "b"]}, "line 2, options: not four (2)"),
    ({"options": [1, 2, 3, "1 "]}, 'line 2, options: two options are the same ("1 ")'),
    ({"answer": "B"}, 'line 2, answer: not a place ("B"); give the place of the right option, counted'),
    ({"answer": 4}, "line 2, answer: not a place (4)"),
    ({"answer": -1}, "line 2, answer: not a place (-1)"),
    ({"answer": True}, "line 2, answer: not a place (true)"),
    ({"answer": float("nan")}, "line 2, answer: not a place (NaN)"),
    ({"answer": None}, "line 2, answer: not a place (null)"),
    ({"context": None}, 'line 2, context: not a text (null); give the text to read first, or ""'),
    ({"question": 12}, "line 2, question: not a text (12); give the text that asks"),
    ({"question": "  "}, "line 2, question: empty; give the text that asks"),
    ({"question": ["a"] * 99}, "line 2, question: not a text ("),
    ({"id": ["q"]}, 'line 2, id: not a text (["q"])'),
    ({"id": "q1"}, "line 2, id: used on an earlier line (q1); give a text that no other question has"),
])
def test_each_fault_of_a_field_is_one_line(tmp_path, change, says):
    said = complaint(file_of(tmp_path, OWN, {**OWN, "id": "q2", **change}))
    assert says in said and "\n" not in said and said.startswith("own.jsonl, line 2, ") and len(said) < 200

@pytest.mark.parametrize("field", FIELDS)
def test_a_missing_field_is_named(tmp_path, field):
    row = {k: v for k, v in OWN.items() if k != field}
    assert complaint(file_of(tmp_path, row)) == f"own.jsonl, line 1, {field}: missing; give {FIELDS[field]}"

@pytest.mark.parametrize("line, says", [
    ('{"id": "q2", ', "not valid JSON"), ('"text"', "expected an object, got str"), ("null", "expected an"),
    ("[" * 100_000, ""), (json.dumps({**OWN, "question": "\ud800"}), "holds half of a surrogate pair")])
def test_a_broken_line_is_named(tmp_path, line, says):
    said = complaint(file_of(tmp_path, OWN, line))
    assert said.startswith(f"own.jsonl, line 2, {says}") and "\n" not in said

@pytest.mark.parametrize("encoding", ["latin1", "utf-16", "cp1252"])
def test_other_encodings_are_named(tmp_path, encoding):
    said = complaint(file_of(tmp_path, {**OWN, "source": "Zoë"}, encoding=encoding))
    assert "own.jsonl" in said and "UTF-8" in said and "\n" not in said

def test_a_spreadsheet_is_refused_once(tmp_path):
    "It used to say the same of the first twenty lines."
    lines = ["id,question,answer", *(f"q{i},What is 1 + {i}?,{i % 4}" for i in range(400))]
    said = complaint(file_of(tmp_path, *lines, name="own.csv"))
    assert said.startswith("own.csv is no JSON Lines file: none of its 401 lines is a JSON object (line 1: ")
    assert "\n" not in said
    assert "write one object a line, with the fields id, ability, " in said

def test_one_fault_on_many_lines_is_told_once(tmp_path):
    rows = [{**OWN, "id": f"q{i}", "answer": "ABCD"[i % 4]} for i in range(400)]
    said = complaint(file_of(tmp_path, *rows))
    assert said.startswith('own.jsonl, lines 1, 2, 3 and 397 more, answer: not a place ("A");')
    assert "\n" not in said
    said = complaint(file_of(tmp_path, OWN, *rows, {**OWN, "id": "z", "options": []}))
    assert said.startswith("own.jsonl: 401 of 402 questions cannot be used\n") and said.count("\n") == 2

def test_no_file_a_folder_and_an_empty_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no file .*none.jsonl; write one"):
        load_questions(tmp_path / "none.jsonl")
    with pytest.raises(OSError, match="is a folder; name one of the files in it"):
        load_questions(tmp_path)
    for text in ("", "\n \n"): assert "is empty: it holds no question" in complaint(file_of(tmp_path, text))

def test_the_command_line_says_it_once(tmp_path):
    from benchmark_profiling.cli import app
    path = file_of(tmp_path, "id,question", *(f"q{i},What is 1 + {i}?" for i in range(50)), name="own.csv")
    done = CliRunner().invoke(app, ["check", str(path)])
    assert done.exit_code and done.output.count("none of its 51 lines is a JSON object") == 1

def nested(inner): return st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=3)
SIMPLE = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
VALUES = st.recursive(SIMPLE, nested, max_leaves=8)

@settings(max_examples=150, deadline=None)
@given(st.lists(st.fixed_dictionaries({}, optional=dict.fromkeys(FIELDS, VALUES)), min_size=1, max_size=4))
def test_any_rows_end_in_questions_or_in_a_message(tmp_path_factory, rows):
    "Some rows are whole but for what was drawn."
    path = tmp_path_factory.mktemp("any") / "own.jsonl"
    path.write_text("".join(json.dumps({**OWN, "id": f"q{i}", **row}) + "\n" for i, row in enumerate(rows)))
    try: ds = load_questions(path)
    except ValueError as e: assert "own.jsonl" in str(e) and "line" in str(e)
    else: assert len(ds) == len(rows) and not question_faults(ds[0])

@settings(max_examples=150, deadline=None)
@given(st.binary(min_size=1, max_size=60))
def test_any_bytes_end_in_a_message(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("any") / "own.jsonl"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="own.jsonl"): load_questions(path)

def test_further_fields_are_left_out(tmp_path):
    assert load_questions(file_of(tmp_path, {**OWN, "note": "x"})).to_list() == [OWN]

def test_counts_have_the_right_grammar():
    assert [counted(n, "ability", "abilities") for n in (1, 2)] == ["1 ability", "2 abilities"]
    assert counted(0, "question") == "0 questions"
    assert gathered([(1, "torn")]) == ["line 1, torn"]
    assert gathered([(1, "torn"), (2, "torn")]) == ["lines 1 and 2, torn"]
    assert gathered([(i, f"kind {i}") for i in range(22)])[-1] == "... and 2 other kinds of fault"

# --- the checks

GOOD = generate("quantitative_reasoning", 400).to_list()
HARD = ("Notwithstanding considerable methodological heterogeneity, multidimensional psychophysiological "
        "instrumentation characteristically necessitates extraordinarily comprehensive familiarisation.")

def problems(rows): return " | ".join(check_questions(Dataset.from_list(rows)).problems)
def right(q): return q["options"][q["answer"]]
def every(change): return lambda rows: [change(q) for q in rows]

def with_right(q, text):
    return {**q, "options": [text if k == q["answer"] else o for k, o in enumerate(q["options"])]}

def placed(q, k):
    "The question with its right option in place k."
    o = [x for i, x in enumerate(q["options"]) if i != q["answer"]]
    return {**q, "options": o[:k] + [right(q)] + o[k:], "answer": k}

def largest_right(rows):
    "Four small numbers, of which the right one is the largest."
    def options(i, q): return [str(i % 4 + (9 if k == q["answer"] else k)) for k in range(4)]
    return [{**q, "options": options(i, q)} for i, q in enumerate(rows)]

@pytest.mark.parametrize("spoil, says", [
    (lambda rows: rows + [{**rows[0], "id": "again"}], "1 of 401 questions is an exact duplicate of another"),
    (lambda rows: rows + [{**q, "id": q["id"] + "b"} for q in rows[:2]], "2 of 402 questions are exact"),
    (lambda rows: [placed(q, 0) if i % 3 == 0 else q for i, q in enumerate(rows)], "answer 0 is right in"),
    (every(lambda q: with_right(q, right(q) + " in all")), "longer than the average option"),
    (every(lambda q: with_right(q, right(q) + "!")), "'words' alone finds the right option"),
    (every(lambda q: {**q, "question": f"Is it {right(q)}?"}), "the question itself names the right option"),
    (every(lambda q: {**q, "context": f"Somebody said {right(q)}."}), "the context names the right option"),
    (every(lambda q: {**q, "context": HARD}), "Flesch-Kincaid grade"),
    (lambda rows: rows[:10], "10 questions are too few"),
    (lambda rows: rows[:1], "1 question is too few"),
    (every(lambda q: {**q, "id": "same"}), "1 id is used more than once, such as 'same'"),
    (lambda rows: rows + [{**q, "question": "Well?"} for q in rows[:2]], "2 ids are used more than once"),
    (every(lambda q: {**q, "ability": "telepathy"}), "not one of the ten abilities"),
    (every(lambda q: {**q, "question_type": "riddle"}), "unknown question type 'riddle'; known: "),
    (lambda rows: [{**q, "options": q["options"][:3] + [q["options"][0]]} for q in rows[:30]],
     "questions 0, 1, 2 and 27 more, options: two options are the same"),
    (every(lambda q: with_right(q, "in " + right(q))), "'length' alone finds"),
    (largest_right, "'number' alone finds"),
])
def test_each_problem_is_found(spoil, says): assert says in problems(spoil(GOOD))

def test_a_good_set_has_no_problem(): assert not problems(GOOD)

def test_a_table_of_pandas_is_a_set_too():
    assert check_questions(pd.DataFrame(GOOD)).table.equals(check_questions(Dataset.from_list(GOOD)).table)

def runs(text):
    "The runs of three words in a text, counted plainly."
    w = re.findall(r"\w+", text.lower())
    return {tuple(w[k:k + 3]) for k in range(len(w) - 2)}

def test_near_duplicates_are_found_when_planted_and_only_then():
    rows = generate("contextual_recall", 500).to_list()
    texts = [f"{q['context']} {q['question']}" for q in rows]
    twins = [t.replace(" the ", " that ", 1) for t in texts[:20]]
    pairs = _near_duplicates(texts + twins, rows=64)
    found = {(i, j) for i, j, _ in pairs}
    assert found >= {(i, 500 + i) for i in range(20)} and len(found) < 30
    assert pairs == _near_duplicates(texts + twins, rows=10_000)
    for i, j, likeness in pairs:
        a, b = runs((texts + twins)[i]), runs((texts + twins)[j])
        assert likeness == pytest.approx(len(a & b) / len(a | b)) and likeness >= 0.9
    def copy(q, t): return {**q, "id": f"twin-{q['id']}", "context": t.removesuffix(q["question"])}
    copies = [copy(q, t) for q, t in zip(rows, twins)]
    assert "nearly the same" in problems(rows + copies)
    assert _near_duplicates(["a", "b"]) == []

def test_every_sort_of_check_holds_on_a_mixed_file():
    report = check_questions(Dataset.from_list(GOOD + generate("spatial_reasoning", 100).to_list()))
    assert list(report.table.index) == ["quantitative_reasoning", "spatial_reasoning"] and report.ok
    assert "no problems found" in report._repr_html_()

def test_an_unknown_ability_is_not_ok(sets):
    juggling = [{**q, "ability": "juggling"} for q in sets["spatial_reasoning"][:100]]
    report = check_questions(Dataset.from_list(juggling))
    assert not report.ok and not report.table.loc["juggling", "ok"]

def test_faults_of_a_question_are_all_named():
    assert [f.field for f in question_faults({**OWN, "context": None, "answer": "B", "options": []})] == [
        "context", "options", "answer"]

# --- corruption and the card

def test_corruption_changes_the_text_and_nothing_else(sets):
    same = ("ability", "question_type", "options", "answer")
    for rows in sets.values():
        before = rows[::10]
        after = corrupt(Dataset.from_list(before)).to_list()
        for x, y in zip(before, after):
            assert (x["context"], x["question"]) != (y["context"], y["question"]), x
            assert all(x[c] == y[c] for c in same) and y["id"] == x["id"] + "-corrupt"
            assert y["source"].startswith("corrupt:0:builtin:0:")
        assert corrupt(Dataset.from_list(before)).to_list() == after
        assert corrupt(Dataset.from_list(before), seed=1).to_list() != after

def test_corruption_destroys_what_the_answer_rests_on(sets):
    def share(rows, solved): return sum(map(solved, rows)) / len(rows)
    def after(ability, part):
        return corrupt(Dataset.from_list([q for q in sets[ability] if part in q["source"]])).to_list()
    sums = after("quantitative_reasoning", ":plus:")
    assert share(sums, lambda q: sum(numbers(q["question"])) == int(right(q))) < 0.2
    said = after("contextual_recall", "market_statement:")
    assert share(said, lambda q: right(q).casefold() in q["context"].casefold()) < 0.45
    rules = after("deductive_reasoning", ":rules_of_town:")
    def kept(q):
        rule = re.sub("^(.*), so (.*)$", r"If \1, \2.", right(q))
        return rule.casefold() in q["context"].casefold()
    assert share(rules, kept) < 0.45

BY_OTHERS = [("", "Who is meant?"), ("It is so.", "Who?"),
             ("Zoe saw Quentin before 12 o'clock. Then Ugo went left to meet Wim.", "Who was first?")]

def test_corruption_of_texts_by_others():
    own = [{**OWN, "ability": a, "context": c, "question": q, "options": ["Zoe", "Quentin", "Ugo", "Wim"]}
           for a in ABILITIES for c, q in BY_OTHERS]
    own = [{**q, "id": f"q{i}"} for i, q in enumerate(own)]
    for x, y in zip(own, corrupt(Dataset.from_list(own))):
        assert (x["context"], x["question"]) != (y["context"], y["question"]), x
    with pytest.raises(ValueError, match="unknown ability 'telepathy'"):
        corrupt(Dataset.from_list([{**own[0], "ability": "telepathy"}]))

def card_of(rows): return data_card(Dataset.from_list(rows), check_questions(Dataset.from_list(rows)))

def test_card():
    head, body = card_of(GOOD).split("---\n", 2)[1:]
    head = yaml.safe_load(head)
    assert head["license"] == "apache-2.0" and head["size_categories"] == ["n<1K"]
    assert "400 English four-option questions" in body and "No problems found." in body
    assert "| quantitative_reasoning | number_facts | easy |" in body
    card = card_of(GOOD[:30] + [{**GOOD[0], "id": "x", "source": "a person"}])
    assert "license: unknown" in card and "- 1 question: a person" in card and "Problems:" in card
    assert "- 30 questions: the built-in writer" in card
    thirty = [{**q, "source": f"person {i % 30}"} for i, q in enumerate(GOOD)]
    assert "- and 10 more sources" in card_of(thirty)
    control = card_of(corrupt(Dataset.from_list(GOOD)).to_list())
    assert "license: apache-2.0" in control and "without their content" in control

def test_old_import_paths():
    for name in ("ABILITIES", "Ability", "Report", "check_questions", "corrupt", "data_card", "template"):
        assert hasattr(datagen, name)
