"The built-in writer's questions are solved again from their text; every check of `check_questions` is provoked once."
import os, re, subprocess, sys
from itertools import permutations
import pytest
from datasets import Dataset
from benchmark_profiling import datagen as dg
from benchmark_profiling.datagen import ABILITIES, LEVELS, check_questions, corrupt, data_card, generate

@pytest.fixture(scope="module")
def sets(): return {a: generate(a, 2000, seed=0).to_list() for a in ABILITIES}

def of(sets, *templates):
    "The questions of some templates, each with the text of its right option."
    found = [(q, q["options"][q["answer"]]) for rows in sets.values() for q in rows if q["source"].split(":")[2] in templates]
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
        assert len(dg._TEMPLATES[a]) >= 10, a

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
    with pytest.raises(ValueError, match="unknown level 'middling'"): generate("spatial_reasoning", 5, level="middling")
    with pytest.raises(ValueError, match="only .* distinct"): generate("temporal_reasoning", 5000, level="easy")

def test_the_same_bytes_under_every_hash_seed():
    code = "from benchmark_profiling.datagen import *; import hashlib, json\nfor a in ABILITIES: print(hashlib.md5(json.dumps([generate(a, 80).to_list(), corrupt(generate(a, 80)).to_list()]).encode()).hexdigest())"
    said = {subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": s}, capture_output=True, text=True, check=True).stdout for s in ("1", "2")}
    assert len(said) == 1 and len(said.pop().split()) == 10

# --- right answers, found again from the text

def test_sums(sets):
    for q, right in of(sets, "plus", "minus", "times", "double_or_half"):
        n, text = numbers(q["question"]), q["question"]
        want = {"+": lambda: n[0] + n[1], "-": lambda: n[0] - n[1], "times": lambda: n[0] * n[1], "twice": lambda: 2 * n[0], "half": lambda: n[0] // 2}
        assert int(right) == next(f() for sign, f in want.items() if f" {sign} " in text), text

def test_word_problems(sets):
    solve = {"sum": lambda n: n[0] + n[1], "difference": lambda n: n[0] - n[1], "packs": lambda n: n[0] * n[1], "share": lambda n: n[0] // n[1], "change": lambda n: n[0] - n[1] * n[2],
             "more_than": lambda n: n[0] + n[1], "together": lambda n: sum(n), "distance": lambda n: n[0] * n[1]}
    for name, f in solve.items():
        for q, right in of(sets, name): assert int(right) == f(numbers(q["context"])), q

def test_calculations(sets):
    for q, right in of(sets, "which_calculation"):
        sign = "-" if re.search("gave|lost", q["context"]) else "+" if re.search(" more|in another", q["context"]) else "÷" if re.search("shares|puts", q["context"]) else "×"
        assert sign in right and len({o.split()[1] for o in q["options"]}) == 4

def test_most_and_least(sets):
    for q, right in of(sets, "who_has", "most_or_least", "nearest", "ages_"):
        amounts = {o: numbers(next(s for s in q["context"].split(".") if re.search(re.escape(o), s, re.I)))[0] for o in q["options"]}
        least = re.search("fewest|least|lightest|newest|nearest|narrowest", q["question"])
        assert right == (min if least else max)(amounts, key=amounts.get), q

def test_calendar(sets):
    days, months = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"], dg._MONTHS
    count = dict(zip(["no", "one", "two", "three", "four", "five", "six"], range(7)))
    for q, right in of(sets, "weekday", "month"):
        names = days if right in days else months
        at = names.index(next(x for x in re.findall(r"[A-Z][a-z]+", q["context"])[::-1] if x in names))
        k = next((count[w] for w in q["context"].split() if w in count), 1)
        back = re.search("ago|before", q["context"] + q["question"])
        assert names[(at + (-k if back else k)) % len(names)] == right, q

def test_clock(sets):
    minutes = lambda t: int(t.split(":")[0]) * 60 + int(t.split(":")[1])
    for q, right in of(sets, "clock_end"):
        time, length = re.search(r"(\d+:\d\d)", q["context"])[1], int(re.search(r"(\d+) minutes", q["context"])[1])
        assert minutes(right.removeprefix("at ")) == minutes(time) + (length if "begins" in q["context"] else -length)
    for q, right in of(sets, "next_train"):
        *trains, here = map(minutes, re.findall(r"\d+:\d\d", q["context"]))
        assert minutes(right.split()[1]) == min(t for t in trains if t >= here)

def worlds(clues, names):
    return [w for w in permutations(names) if all(w.index(a) < w.index(b) for a, b in clues)]

def test_orders_leave_one_answer(sets):
    for q, right in of(sets, "ordering", "arrivals"):
        more = "taller|older|heavier|richer|faster|stronger|before"
        clues = [(m[1], m[3]) if re.search(more, m[2]) else (m[3], m[1]) for m in re.finditer(r"(\w+) ((?:is \w+ than|\w+ before|\w+ after)) (\w+)", q["context"])]
        end = -1 if re.search("shortest|youngest|lightest|poorest|slowest|weakest|last", q["question"]) else 0
        assert {w[end] for w in worlds(clues, q["options"])} == {right}, q

def test_matching_leaves_one_answer(sets):
    for q, right in of(sets, "matching"):
        names = re.match(r"Of (\w+), (\w+), (\w+) and (\w+),", q["context"]).groups()
        who = re.match(r"Which is true of (\w+)\?", q["question"])[1]
        facts = re.split(r"(?<=\.) ", q["context"])[1:]
        told = [(s.split()[0], " not " not in s, next(o for o in q["options"] if s.rstrip(".").endswith(o))) for s in facts]
        left = {w[names.index(who)] for w in permutations(q["options"]) if all((w[names.index(n)] == thing) == yes for n, yes, thing in told)}
        assert left == {right}, q

def test_rules(sets):
    for q, right in of(sets, *(f"rules_of_{k}{b}" for k in ("town", "house", "forest", "ship") for b in ("", "_bare"))):
        *rules, fact = re.split(r"(?<=\.) ", q["context"])
        then = dict(re.match(r"If (.+), (.+)\.", r).groups() for r in rules)
        assert right.casefold().endswith(then[fact.removeprefix("Today ").rstrip(".")].casefold()) and len(set(then.values())) == 4

def test_one_speaker_tells_the_truth(sets):
    for q, right in of(sets, "one_truth"):
        said = re.findall(r'(\w+) says: "It was (not )?(\w+)\."', q["context"])
        holds = lambda culprit: sum(((speaker if who == "me" else who) == culprit) != bool(no) for speaker, no, who in said)
        assert [n for n in q["options"] if holds(n) == 1] == [right]

def test_patterns_go_on_as_they_began(sets):
    for q, right in of(sets, *(f"repeating_{k}{b}" for k in ("words", "colours", "letters") for b in ("", "_bare"))):
        shown = [x.strip().casefold() for x in q["context"].removesuffix(", ...").split(",")]
        period = next(p for p in range(1, len(shown)) if all(shown[i] == shown[i - p] for i in range(p, len(shown))))
        assert right.split(", ")[-1].casefold() == shown[len(shown) - period] and period in (4, 5), q
    for q, right in of(sets, "number_steps", "number_doubling"):
        n = numbers(q["question"])
        if n[2] - n[1] == n[1] - n[0]: assert int(right) == 2 * n[-1] - n[-2]
        else: assert int(right) * n[0] == n[-1] * n[1]

def test_recall_has_one_true_statement_and_60_to_200_words(sets):
    for q in sets["contextual_recall"]: assert 60 <= len(q["context"].split()) <= 200
    for q, right in of(sets, "neighbours_statement", "market_statement"):
        facts = {}
        for clause in re.split(r"\. |, | and ", q["context"]):   # a clause without its own name belongs to the last one
            if m := re.match(r"([A-Z]\w+) (lives|works|keeps|likes|sells|stands|comes)\b", clause): facts.setdefault(m[1], set()).add(clause.split(" ", 1)[1].rstrip(".")); who = m[1]
            elif re.match(r"(lives|works|keeps|likes|sells|stands|comes)\b", clause): facts[who].add(clause.rstrip("."))
        assert [o for o in q["options"] if o.split(" ", 1)[1] in facts[o.split()[0]]] == [right], q

def test_compass(sets):
    way, back = dict(north=(0, 1), east=(1, 0), south=(0, -1), west=(-1, 0)), dict(north="south", south="north", east="west", west="east")
    for q, right in of(sets, "compass"):
        links = re.findall(r"(\w+) is (\w+) of (\w+)", q["context"])
        a, b = re.match(r"In which direction is (\w+) from (\w+)\?", q["question"]).groups()
        step = {**{(x, y): way[w] for x, w, y in links}, **{(y, x): way[back[w]] for x, w, y in links}}
        middle = next(x for x, _ in step if (a, x) in step and (x, b) in step)
        total = [step[a, middle][i] + step[middle, b][i] for i in (0, 1)]
        assert total == [2 * x for x in way[right]], q
    for q, right in of(sets, "walk"):
        moves = [(int(n), way[w]) for n, w in re.findall(r"(\d+) steps (\w+)", q["context"])]
        x, y = (sum(n * w[i] for n, w in moves) for i in (0, 1))
        assert 0 in (x, y) and way[right] == ((x > 0) - (x < 0), (y > 0) - (y < 0))

def test_facts_have_one_right_option(sets):
    fields = dg._facts("world")
    for q in sets["long_term_knowledge"]:
        field = fields[q["source"].split(":")[2]]
        pairs = [(k, v) for v, ks in field["members"].items() for k in ks] if "members" in field else [p for g in field.get("groups", [field.get("facts", {})]) for p in g.items()]
        asked = {s for k, v in pairs for a, s in [(x.format(k=k, v=v), v) for x in field["ask"]] + [(x.format(k=k, v=v), k) for x in field["back"]] if dg._tidy(dg._cap(a)) == q["question"]}
        assert {o for o in q["options"] if o in {dg._tidy(s) for s in asked}} == {q["options"][q["answer"]]}, q

def test_classes_of_everyday_things_do_not_overlap():
    e = dg._EVERYDAY
    for table in (e["durations"], e["seasons"], e["times of day"], e["frequencies"], e["ages"], e["eras"], e["months"], e["shapes"], e["motions"], *e["places"], *e["body"]):
        things = [t for members in table.values() for t in members]
        assert len(things) == len(set(things))

# --- the checks

GOOD = generate("quantitative_reasoning", 400).to_list()
def problems(rows): return " | ".join(check_questions(Dataset.from_list(rows)).problems)
def right(q): return q["options"][q["answer"]]
def with_right(q, text): return {**q, "options": [text if k == q["answer"] else o for k, o in enumerate(q["options"])]}

def placed(q, k):
    "The question with its right option in place k."
    o = [x for i, x in enumerate(q["options"]) if i != q["answer"]]
    return {**q, "options": o[:k] + [right(q)] + o[k:], "answer": k}

@pytest.mark.parametrize("spoil, says", [
    (lambda rows: rows + [{**rows[0], "id": "again"}], "1 of 401 questions are exact duplicates"),
    (lambda rows: [placed(q, 0) if i % 3 == 0 else q for i, q in enumerate(rows)], "answer 0 is right in"),
    (lambda rows: [with_right(q, right(q) + " in all") for q in rows], "longer than the average option"),
    (lambda rows: [with_right(q, right(q) + "!") for q in rows], "'words' alone finds the right option"),
    (lambda rows: [{**q, "question": f"{q['question']} (It is {right(q)}.)"} for q in rows], "the question itself names the right option"),
    (lambda rows: [{**q, "context": f"Somebody whispers {right(q)}."} for q in rows], "the context names the right option"),
    (lambda rows: [{**q, "context": "Notwithstanding considerable methodological heterogeneity, multidimensional psychophysiological instrumentation characteristically necessitates extraordinarily comprehensive familiarisation."} for q in rows], "Flesch-Kincaid grade"),
    (lambda rows: rows[:10], "10 questions are too few"),
    (lambda rows: [{**q, "id": "same"} for q in rows], "ids are used more than once"),
    (lambda rows: [{**q, "ability": "telepathy"} for q in rows], "not one of the ten abilities"),
    (lambda rows: [{**q, "question_type": "riddle"} for q in rows], "unknown question type 'riddle'"),
    (lambda rows: [{**q, "options": q["options"][:3] + [q["options"][0]]} for q in rows[:30]], "two options are the same"),
    (lambda rows: [{**q, "options": [f"{'in ' * (k == q['answer'])}{o}" for k, o in enumerate(q["options"])]} for q in rows], "'length' alone finds"),
    (lambda rows: [{**q, "options": [str(i % 4 + (9 if k == q["answer"] else k)) for k in range(4)]} for i, q in enumerate(rows)], "'number' alone finds"),
])
def test_each_problem_is_found(spoil, says): assert says in problems(spoil(GOOD))

def test_a_good_set_has_no_problem(): assert not problems(GOOD)

def test_near_duplicates_are_found_when_planted_and_only_then():
    rows = generate("contextual_recall", 500).to_list()
    texts = [f"{q['context']} {q['question']}" for q in rows]
    twins = [t.replace(" the ", " that ", 1) for t in texts[:20]]
    found = {(i, j) for i, j, _ in dg._near_duplicates(texts + twins, rows=64)}
    assert found >= {(i, 500 + i) for i in range(20)} and len(found) < 30
    assert found == {(i, j) for i, j, _ in dg._near_duplicates(texts + twins, rows=10_000)}
    for i, j, likeness in dg._near_duplicates(texts + twins):   # the same number, counted plainly
        a, b = ({tuple(w[k:k + 3]) for k in range(len(w) - 2)} for w in (re.findall(r"\w+", (texts + twins)[k].lower()) for k in (i, j)))
        assert likeness == pytest.approx(len(a & b) / len(a | b)) and likeness >= 0.9
    assert "nearly the same" in problems(rows + [{**q, "id": q["id"] + "b", "context": t.removesuffix(q["question"])} for q, t in zip(rows, twins)])
    assert dg._near_duplicates(["a", "b"]) == []

def test_every_sort_of_check_holds_on_a_mixed_file():
    report = check_questions(Dataset.from_list(GOOD + generate("spatial_reasoning", 100).to_list()))
    assert list(report.table.index) == ["quantitative_reasoning", "spatial_reasoning"] and report.ok
    assert "no problems found" in report._repr_html_()

# --- corruption and the card

def test_corruption_changes_the_text_and_nothing_else(sets):
    for a, rows in sets.items():
        before = rows[::10]
        after = corrupt(Dataset.from_list(before)).to_list()
        for x, y in zip(before, after):
            assert (x["context"], x["question"]) != (y["context"], y["question"]), x
            assert all(x[c] == y[c] for c in ("ability", "question_type", "options", "answer")) and y["id"] == x["id"] + "-corrupt" and y["source"].startswith("corrupt:0:builtin:0:")
        assert corrupt(Dataset.from_list(before)).to_list() == after
        assert corrupt(Dataset.from_list(before), seed=1).to_list() != after

def test_corruption_destroys_what_the_answer_rests_on(sets):
    still = lambda rows, solved: sum(map(solved, rows)) / len(rows)
    after = lambda ability, part: corrupt(Dataset.from_list([q for q in sets[ability] if part in q["source"]])).to_list()
    sums = after("quantitative_reasoning", ":plus:")
    assert still(sums, lambda q: sum(numbers(q["question"])) == int(right(q))) < 0.2
    said = after("contextual_recall", "market_statement:")
    assert still(said, lambda q: right(q).casefold() in q["context"].casefold()) < 0.45
    rules = after("deductive_reasoning", ":rules_of_town:")
    assert still(rules, lambda q: re.sub("^(.*), so (.*)$", r"If \1, \2.", right(q)).casefold() in q["context"].casefold()) < 0.45

def test_corruption_of_texts_by_others():
    own = [dict(id=f"q{i}", ability=a, question_type=ABILITIES[a].question_types[0], context=c, question=q, options=["Zoe", "Quentin", "Ugo", "Wim"], answer=0, source="me")
           for a in ABILITIES for i, (c, q) in enumerate([("", "Who is meant?"), ("Zoe saw Quentin before 12 o'clock. Then Ugo went left to meet Wim.", "Who was first?"), ("It is so.", "Who?")])]
    for i, q in enumerate(own): q["id"] = f"q{i}"
    for x, y in zip(own, corrupt(Dataset.from_list(own))): assert (x["context"], x["question"]) != (y["context"], y["question"]), x
    with pytest.raises(ValueError, match="unknown ability 'telepathy'"): corrupt(Dataset.from_list([{**own[0], "ability": "telepathy"}]))

def test_card():
    ds = Dataset.from_list(GOOD)
    card = data_card(ds, check_questions(ds))
    head, body = card.split("---\n", 2)[1:]
    import yaml
    assert yaml.safe_load(head)["license"] == "apache-2.0" and yaml.safe_load(head)["size_categories"] == ["n<1K"]
    assert "400 English four-option questions" in body and "No problems found." in body and "| quantitative_reasoning | number_facts | easy |" in body
    mixed = Dataset.from_list(GOOD[:30] + [{**GOOD[0], "id": "x", "source": "a person"}])
    card = data_card(mixed, check_questions(mixed))
    assert "license: unknown" in card and "1 question(s): a person" in card and "Problems:" in card
    many = Dataset.from_list([{**q, "source": f"person {i % 30}"} for i, q in enumerate(GOOD)])
    assert "- and 10 more sources" in data_card(many, check_questions(many))
    control = corrupt(ds)
    assert "license: apache-2.0" in data_card(control, check_questions(control)) and "without their content" in data_card(control, check_questions(control))

def test_an_unknown_ability_is_not_ok(sets):
    report = check_questions(Dataset.from_list([{**q, "ability": "juggling"} for q in sets["spatial_reasoning"][:100]]))
    assert not report.ok and not report.table.loc["juggling", "ok"]
