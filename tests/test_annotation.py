"Expert annotation: blind sheets, there and back, and figures against textbook tables."

import random
from fractions import Fraction as F

import numpy as np
import pandas as pd
import pytest

from benchmark_profiling.annotation import (
    SHEET,
    agreement,
    annotation_sheet,
    draw_accuracy,
    draw_confusion,
    label_accuracy,
    load_sheet,
    save_sheet,
    sheet_key,
)
from benchmark_profiling.datagen import ABILITIES, generate
from benchmark_profiling.form import annotate

KEYS = list(ABILITIES)


@pytest.fixture(scope="module")
def ds():
    return [q for a in ABILITIES for q in generate(a, 40, seed=1)]


@pytest.fixture
def pair(ds):
    return annotation_sheet(ds, 4), sheet_key(ds, 4)


@pytest.fixture
def good(pair):
    return pair[0].assign(ability=pair[1]["ability"], answer=pair[1]["answer"])


def test_the_key_fits_the_sheet(ds):
    sheet, key, by_id = annotation_sheet(ds, 20, 3), sheet_key(ds, 20, 3), {q["id"]: q for q in ds}
    assert list(sheet["item"]) == list(key["item"]) and sheet["item"].is_unique and key["id"].is_unique
    for s, k in zip(sheet.to_dict("records"), key.to_dict("records")):
        q = by_id[k["id"]]
        assert (s["context"], s["question"], k["ability"]) == (q["context"], q["question"], q["ability"])
        assert s[k["answer"]] == q["options"][q["answer"]] and sorted(s[l] for l in "ABCD") == sorted(
            q["options"]
        )
    assert (key["ability"].value_counts() == 20).all()
    kinds = key[key["ability"] == "contextual_recall"]["question_type"].value_counts()
    share = np.mean(
        [q["question_type"] == "single_fact_recall" for q in ds if q["ability"] == "contextual_recall"]
    )
    assert abs(kinds["single_fact_recall"] / 20 - share) <= 0.1


def test_the_draw_is_seeded_and_does_not_hang_on_the_order_of_the_set(ds):
    mixed = random.Random(0).sample(ds, len(ds))
    pd.testing.assert_frame_equal(annotation_sheet(ds, 5), annotation_sheet(mixed, 5))
    pd.testing.assert_frame_equal(sheet_key(ds, 5), sheet_key(mixed, 5))
    assert set(sheet_key(ds, 5)["id"]) != set(sheet_key(ds, 5, seed=1)["id"])


def test_every_question_is_drawn_equally_often(ds):
    one = [q for q in ds if q["ability"] == "contextual_recall"]
    drawn = (
        pd.concat([sheet_key(one, 10, seed) for seed in range(400)])["id"]
        .value_counts()
        .reindex([q["id"] for q in one], fill_value=0)
    )
    assert abs(drawn - 100).max() < 5 * np.sqrt(400 * 0.25 * 0.75)


def test_the_sheet_is_blind(ds):
    sheet, key = annotation_sheet(ds, 30), sheet_key(ds, 30)
    assert (
        list(sheet)
        == SHEET
        == ["item", "context", "question", "A", "B", "C", "D", "ability", "answer", "comment"]
    )
    assert (sheet[["ability", "answer", "comment"]] == "").all(axis=None) and list(sheet["item"][:2]) == [
        "q001",
        "q002",
    ]
    text = " ".join(sheet.to_numpy().ravel()).casefold()
    for a in ABILITIES.values():
        assert a.key not in text and a.name.casefold() not in text
    for i in key["id"]:
        assert i.split("-")[-1] not in text
    assert key["answer"].value_counts().to_dict() == dict.fromkeys("ABCD", 75)
    runs = (key["ability"] == key["ability"].shift()).sum()  # neighbours of one ability: 299/10 expected
    assert 10 < runs < 50
    halves = key.groupby("ability")["item"].apply(lambda i: (i <= "q150").sum())
    assert halves.between(5, 25).all()


def test_asking_for_too_many_says_how_many_there_are(ds):
    with pytest.raises(ValueError, match="41 questions of .* asked for, there are 40"):
        annotation_sheet(ds, 41)
    with pytest.raises(ValueError, match="unknown ability 'x'"):
        annotation_sheet([dict(ds[0], ability="x")], 1)


NASTY = [
    "=1+1",
    "+44",
    "-5",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "  =cmd|' /C calc'!A0",
    "＝1",
    "'=1",
    "'tis",
    "''",
    "'",
    "a,b;c",
    'say "no"',
    "two\nlines",
    "cr\r\nlf",
    "NA",
    "",
    "007",
    "été 東京 🙂",
    " spaces ",
]


def test_nothing_is_a_formula_and_everything_survives(pair, tmp_path):
    sheet = pair[0].copy()
    for c in ("context", "question", *"ABCD", "comment"):
        sheet[c] = (NASTY * 3)[: len(sheet)]
    path = save_sheet(sheet, tmp_path / "new" / "s.csv")
    assert path.read_bytes().startswith(b"\xef\xbb\xbf")
    raw = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    assert not raw.map(lambda cell: cell.lstrip()[:1] in list("=+-@＝")).any(axis=None)
    pd.testing.assert_frame_equal(load_sheet(path), sheet)
    pd.testing.assert_frame_equal(load_sheet(save_sheet(load_sheet(path), path)), sheet)
    assert [f.name for f in path.parent.iterdir()] == ["s.csv"]


@pytest.mark.parametrize(
    "sep, encoding", [(";", "cp1252"), (";", "utf-8"), ("\t", "utf-8-sig"), (",", "utf-8-sig")]
)
def test_sheets_as_other_programs_save_them(good, pair, tmp_path, sep, encoding):
    good.loc[0, "comment"] = "naïve; à revoir, oui"
    good.loc[len(good)] = ""  # an empty row at the end
    good.to_csv(tmp_path / "s.csv", sep=sep, encoding=encoding, index=False)
    back = load_sheet(tmp_path / "s.csv", pair[1])
    assert back.at[0, "comment"] == "naïve; à revoir, oui" and (back["ability"] == pair[1]["ability"]).all()


def test_rows_may_come_back_in_any_order_and_names_in_any_case(good, pair, tmp_path):
    good["ability"] = [
        ABILITIES[a].name.upper() if i % 2 else f" {a} " for i, a in enumerate(good["ability"])
    ]
    good["answer"] = good["answer"].str.lower()
    back = load_sheet(save_sheet(good.sample(frac=1, random_state=0), tmp_path / "s.csv"), pair[1])
    assert (
        (back["item"] == pair[1]["item"]).all()
        and (back["ability"] == pair[1]["ability"]).all()
        and (back["answer"] == pair[1]["answer"]).all()
    )


@pytest.mark.parametrize(
    "change, said",
    [
        (
            lambda s: s.assign(ability=["Spacial Resoning"] + [""] * (len(s) - 1)),
            r"row 2 \(q001\): unknown ability 'Spacial Resoning'; "
            r"the nearest is 'Spatial Reasoning' \(spatial_reasoning\)",
        ),
        (
            lambda s: s.assign(answer=["AB"] + [""] * (len(s) - 1)),
            r"row 2 \(q001\): answer 'AB' is not A, B, C, D, \? or empty",
        ),
        (
            lambda s: s.assign(item=["q900", *s["item"][1:]]),
            r"row 2 \(q900\): unknown item 'q900'; the sheet has q001 to q040",
        ),
        (lambda s: s.assign(item=["", *s["item"][1:]]), r"row 2 \(no item\): the item code is missing"),
        (lambda s: pd.concat([s, s.iloc[[4]]]), r"row 42 \(q005\): item 'q005' stands on row 6 already"),
        (lambda s: s.iloc[3:], "3 of 40 items are missing, such as q001"),
        (
            lambda s: s.assign(question=["Something else?", *s["question"][1:]]),
            r"row 2 \(q001\): this is not the question of that item",
        ),
        (lambda s: s.drop(columns="ability"), "column 'ability' is missing"),
        (lambda s: s.assign(ability="", answer="", comment="fine"), "nothing is filled in"),
    ],
)
def test_faults_are_named_by_row_and_value(good, pair, tmp_path, change, said):
    path = save_sheet(change(good), tmp_path / "s.csv")
    with pytest.raises(ValueError, match=said):
        load_sheet(path, pair[1])
    with pytest.raises(ValueError, match=said):
        label_accuracy({"one": change(good)}, pair[1])


def test_files_that_are_no_sheet(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no sheet"):
        load_sheet(tmp_path / "no.csv")
    for content, said in (
        (b"PK\x03\x04...", "is a workbook"),
        (b"", "cannot be read as CSV"),
        (b"a,b\n1,2\n", "column 'item' is missing"),
    ):
        (tmp_path / "s.csv").write_bytes(content)
        with pytest.raises(ValueError, match=said):
            load_sheet(tmp_path / "s.csv")


TEXT = "item,context,question,A,B,C,D,ability,answer,comment\n"


@pytest.mark.parametrize(
    "content, said",
    [
        (b"item\nq001\x81\n", r"s\.csv, line 2: byte 0x81 is no text in UTF-8 or Windows-1252"),
        ((TEXT + "q001,\0,,,,,,,,\n").encode(), r"s\.csv, line 2: byte 0x00 is no text"),
        (TEXT.encode("utf-16-le"), r"s\.csv, line 1: byte 0x00 is no text"),
        (
            (TEXT + "q001,,Who, and where?,a,b,c,d,,A,\n").encode(),
            r"s\.csv, row 2: 11 cells where the header has 10",
        ),
        ((TEXT + "q001,,Where?\n").encode(), r"s\.csv, row 2: 3 cells where the header has 10"),
        ((TEXT + 'q001,,"Where?,a,b,c,d,,A,\n').encode(), r"s\.csv, row 2: 3 cells where the header has 10"),
        (TEXT.replace("comment", "answer").encode(), r"s\.csv: column 'answer' is there twice"),
        (b"\n", "cannot be read as CSV: it is empty"),
        (TEXT.encode() + b"q001,,,,,,,,E,\n", r"s\.csv: row 2 \(q001\): answer 'E'"),
    ],
)
def test_bad_files_are_named_by_file_and_line(content, said, tmp_path):
    (tmp_path / "s.csv").write_bytes(content)
    with pytest.raises(ValueError, match=said) as e:
        load_sheet(tmp_path / "s.csv")
    assert "\n" not in str(e.value)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8", "utf-8-sig", "cp1252"])
def test_every_encoding_that_programs_write_is_read(good, pair, tmp_path, encoding):
    good.loc[0, "comment"] = "naïve – “à revoir”"
    good.to_csv(tmp_path / "s.csv", sep="\t", encoding=encoding, index=False)
    assert load_sheet(tmp_path / "s.csv", pair[1]).at[0, "comment"] == "naïve – “à revoir”"


@pytest.mark.filterwarnings("error")
def test_nulls_numbers_and_mixed_types_are_texts_or_open(good, pair):
    n = len(good)
    mixed = good.assign(
        comment=[1, 2.5, None, float("nan"), True] * (n // 5), context=good["context"].astype(object)
    )
    mixed.loc[good.index[0], "context"] = None
    mixed["ability"] = float("nan")
    everything = label_accuracy({"one": mixed}, pair[1]).loc["one", "all"]
    assert (everything["label_open"], everything["answer_n"], everything["answer"]) == (n, n, 1.0)


@pytest.mark.parametrize(
    "change, said",
    [
        ({"context": None}, "field 'context' is missing or null"),
        ({"options": ["a", "b", "c"]}, "'options' has to be four texts"),
        ({"options": [1, 2, 3, 4]}, "'options' has to be four texts"),
        ({"options": ["a", "b", "c", None]}, "four texts"),
        ({"options": ["a", "b", "c", " "]}, "four texts"),
        ({"options": "abcd"}, "four texts"),
        ({"question": 7}, "'question' has to be text"),
        ({"answer": 4}, "'answer' has to be 0 to 3, not 4"),
        ({"answer": "A"}, "0 to 3, not 'A'"),
        ({"id": None}, "no id"),
    ],
)
def test_questions_that_cannot_be_shown_are_named_by_number_and_field(ds, change, said):
    for make in (annotation_sheet, sheet_key):
        with pytest.raises(ValueError, match=rf"question 2 \(.*{said}") as e:
            make([ds[0], {**ds[1], **change}], 1)
        assert "\n" not in str(e.value)


def test_tables_that_are_none_are_refused(good, pair, tmp_path):
    path = save_sheet(good, tmp_path / "s.csv")
    with pytest.raises(ValueError, match="not a sheet but a PosixPath; read a file with load_sheet"):
        label_accuracy({"a": path}, pair[1])
    with pytest.raises(ValueError, match="dict of name -> filled sheet, not a list"):
        label_accuracy([good], pair[1])
    with pytest.raises(ValueError, match="columns item and question"):
        label_accuracy({"a": good}, pair[1].drop(columns="item"))


def test_many_faults_are_cut(good, pair):
    with pytest.raises(ValueError, match=r"and 20 more"):
        label_accuracy({"one": good.assign(answer="E")}, pair[1])


def test_an_empty_sheet_can_be_loaded_to_start_with(pair, tmp_path):
    pd.testing.assert_frame_equal(load_sheet(save_sheet(pair[0], tmp_path / "s.csv")), pair[0])


# --- figures


def test_right_wrong_and_open_are_counted(good, pair):
    key = pair[1]
    mine = good.copy()
    mine.loc[mine.index[:4], "ability"] = ""  # four left open
    row = mine.index[key["ability"] == "spatial_reasoning"][-1]
    mine.loc[row, ["ability", "answer"]] = [
        "temporal_reasoning",
        "A" if key.at[row, "answer"] != "A" else "B",
    ]
    t = label_accuracy({"one": mine}, key)
    assert list(t.index.get_level_values(0).unique()) == ["one"]
    everything = t.loc["one", "all"]
    assert (
        everything["label_n"],
        everything["label_open"],
        everything["answer_n"],
        everything["answer_open"],
    ) == (36, 4, 40, 0)
    assert (
        everything["label"] == pytest.approx(35 / 36)
        and everything["answer"] == pytest.approx(39 / 40)
        and everything["paper"] == 0.922
    )
    n, p, z = 36, 35 / 36, 1.959963984540054  # Wilson's formula
    half = z * np.sqrt(p * (1 - p) / n + z * z / 4 / n / n) / (1 + z * z / n)
    assert everything["label_hi"] - everything["label_lo"] == pytest.approx(2 * half)
    assert t["label_n"].drop("all", level=1).sum() == 36 and t["paper"].notna().sum() == 1


def test_a_question_mark_says_that_no_single_option_is_right(good, pair):
    good.loc[good.index[0], "answer"] = "?"
    row = label_accuracy({"one": good}, pair[1]).loc["one", "all"]
    assert row["answer"] == 39 / 40 and row["answer_n"] == 40 and row["answer_open"] == 0


def test_majority_and_ties(good, pair):
    key, wrong = (
        pair[1],
        lambda i: good.assign(ability=[KEYS[(KEYS.index(a) + i) % 10] for a in good["ability"]]),
    )
    whole = lambda *sheets: label_accuracy({str(i): s for i, s in enumerate(sheets)}, key).loc[
        "majority vote", "all"
    ]
    assert whole(good, good, wrong(1))["label"] == 1
    assert whole(good, wrong(1), wrong(1))["label"] == 0
    assert (
        whole(good, wrong(1))["label"] == 0 and whole(good, wrong(1))["label_n"] == 40
    )  # a tie is judged, and wrong
    assert whole(good, good.assign(ability=""))["label"] == 1  # who cannot tell has no vote
    assert whole(good.assign(ability=""), good.assign(ability=""))["label_open"] == 40
    assert np.isnan(whole(good.assign(ability=""), good.assign(ability=""))["label"])


def sheets_of(ratings, column, names):
    "Sheets of annotators whose judgements are the columns of `ratings` (items × annotators)."
    blank = pd.DataFrame(
        [[f"q{i:03}", "", f"question {i}", *"wxyz", "", "", ""] for i in range(1, len(ratings) + 1)],
        columns=SHEET,
    )
    return {
        f"r{j}": blank.assign(**{column: [names[x] if x is not None else "" for x in r]})
        for j, r in enumerate(zip(*ratings))
    }


def test_cohen_against_a_textbook_table():
    """Fleiss, Levin and Paik, Statistical Methods for Rates and Proportions, table 18.1:
    two raters, 100 subjects, kappa 0.676."""
    table = [[75, 1, 4], [5, 4, 1], [0, 0, 10]]
    ratings = [(i, j) for i, row in enumerate(table) for j, n in enumerate(row) for _ in range(n)]
    agree = F(89, 100)
    chance = sum(F(sum(table[k]), 100) * F(sum(row[k] for row in table), 100) for k in range(3))
    for column, names in (("ability", KEYS), ("answer", "ABCD")):
        k = agreement(sheets_of(ratings, column, names)).set_index("what").loc[column]
        assert (
            k["kappa"] == pytest.approx(float((agree - chance) / (1 - chance)))
            and round(k["kappa"], 3) == 0.676
        )
        assert (k["measure"], k["n"], k["left_out"], k["note"]) == ("Cohen", 100, 0, "") and k[
            "agree"
        ] == 0.89
        assert (
            k["lo"] < 0.676 < k["hi"] and abs((k["hi"] - k["lo"]) / 2 / 1.96 - 0.0877) < 0.012
        )  # the book's standard error


def test_fleiss_against_a_published_table():
    "Ten subjects, fourteen raters, five categories; kappa 0.210."
    counts = [
        [0, 0, 0, 0, 14],
        [0, 2, 6, 4, 2],
        [0, 0, 3, 5, 6],
        [0, 3, 9, 2, 0],
        [2, 2, 8, 1, 1],
        [7, 7, 0, 0, 0],
        [3, 2, 6, 3, 0],
        [2, 5, 3, 2, 2],
        [6, 5, 2, 1, 0],
        [0, 2, 2, 3, 7],
    ]
    ratings = [[k for k, n in enumerate(row) for _ in range(n)] for row in counts]
    agree = sum(F(sum(n * (n - 1) for n in row), 14 * 13) for row in counts) / 10
    chance = sum(F(sum(row[k] for row in counts), 140) ** 2 for k in range(5))
    table = agreement(sheets_of(ratings, "ability", KEYS))
    k = table[(table["what"] == "ability") & (table["measure"] == "Fleiss")].iloc[0]
    assert (
        k["kappa"] == pytest.approx(float((agree - chance) / (1 - chance))) and round(k["kappa"], 3) == 0.210
    )
    assert (table["measure"] == "Cohen").sum() == 2 * 14 * 13 // 2 and k["lo"] < 0.21 < k["hi"]


def test_fleiss_interval_is_as_wide_as_the_bootstrap_says():
    r = np.random.default_rng(0)
    truth = r.integers(0, 4, 300)
    x = np.array([np.where(r.random(300) < 0.7, truth, r.integers(0, 4, 300)) for _ in range(4)]).T
    k = agreement(sheets_of(x.tolist(), "answer", "ABCD")).iloc[-1]

    def kappa(x):
        c = np.stack([(x == j).sum(1) for j in range(4)], 1)
        agree, chance = ((c**2).sum(1) - 4).mean() / 12, ((c.sum(0) / c.sum()) ** 2).sum()
        return (agree - chance) / (1 - chance)

    spread = np.std([kappa(x[r.integers(0, 300, 300)]) for _ in range(500)])
    assert k["kappa"] == pytest.approx(kappa(x)) and (k["hi"] - k["lo"]) / 2 / 1.96 == pytest.approx(
        spread, rel=0.2
    )


def test_missing_judgements_and_kappas_that_do_not_exist():
    ratings = [(0, 0, None), (1, 1, 1), (0, 1, 0), (1, None, 1), (0, 0, 0)]
    t = agreement(sheets_of(ratings, "ability", KEYS)).query("what == 'ability'").set_index("annotators")
    assert list(t["n"]) == [4, 4, 3, 3] and list(t["left_out"]) == [1, 1, 2, 2]
    assert (
        t.at["r0, r2", "kappa"] == 1 and t.at["r0, r2", "hi"] == 1 and t.at["r0, r2", "lo"] < 0.5
    )  # four items prove little
    t = agreement(sheets_of([(0, 0)] * 3, "ability", KEYS))
    assert (
        t["kappa"].isna().all()
        and "every judgement is 'analogical_reasoning'" in t.at[0, "note"]
        and t.at[1, "note"] == "no item was judged by all of them"
    )
    assert (
        agreement(sheets_of([(0, 1, 2)], "ability", KEYS)).query("what == 'ability'")["kappa"].notna().all()
    )  # a single item


def test_agreement_refuses_what_cannot_be_compared(ds, good):
    with pytest.raises(ValueError, match="at least two annotators"):
        agreement({"one": good})
    with pytest.raises(ValueError, match="sheet 'two': .*not the question"):
        agreement({"one": good, "two": annotation_sheet(ds, 4, seed=9).assign(answer="A")})
    with pytest.raises(ValueError, match="there is no sheet"):
        label_accuracy({}, sheet_key(ds, 4))


def test_pictures(good, pair):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    ax = draw_confusion({"one": good, "two": good.assign(ability="")}, pair[1])
    assert (
        sorted({t.get_text() for t in ax.texts}) == ["", "4"] and "n=8" in ax.get_yticklabels()[0].get_text()
    )
    assert "all (40 / 40)" in [
        t.get_text() for t in draw_accuracy(label_accuracy({"one": good}, pair[1])).get_yticklabels()
    ]
    plt.close("all")


# --- the form


def test_every_click_is_saved(pair, tmp_path):
    pytest.importorskip("ipywidgets")
    path = tmp_path / "s.csv"
    form = annotate(pair[0], path)
    pd.testing.assert_frame_equal(load_sheet(path), pair[0])  # there from the start
    form.answers["C"].click()
    assert (
        load_sheet(path).at[0, "answer"] == "C"
        and form.answers["C"].icon == "check"
        and not form.answers["A"].icon
    )
    form.answers["A"].click()
    assert load_sheet(path).at[0, "answer"] == "A" and not form.answers["C"].icon
    form.abilities["deductive_reasoning"].click()
    assert (
        load_sheet(path).at[0, "ability"] == "deductive_reasoning"
        and form.progress.value == 1
        and ABILITIES["deductive_reasoning"].definition in form.meaning.value
    )
    form.comment.value = "=two are right"
    assert load_sheet(path).at[0, "comment"] == "=two are right"
    form.answers["?"].click()
    assert load_sheet(path).at[0, "answer"] == "?" and "more than one" in form.answers["?"].description
    form.answers["?"].click()  # a second click takes it back
    assert (
        load_sheet(path).at[0, "answer"] == ""
        and form.progress.value == 0
        and "saved to s.csv" in form.status.value
    )


def test_going_about(pair, tmp_path):
    pytest.importorskip("ipywidgets")
    form = annotate(pair[0], tmp_path / "s.csv")
    assert form.back.disabled and not form.next.disabled
    form.comment.value = "first"
    form.next.click()
    assert form.at == 1 and form.comment.value == "" and pair[0].at[1, "item"] in form.text.value
    form.answers["B"].click()
    form.abilities["spatial_reasoning"].click()
    form.back.click()
    form.back.click()
    assert form.at == 0 and form.comment.value == "first"
    form.open.click()
    assert form.at == 2  # 1 is finished
    form.go(999)
    assert form.at == len(pair[0]) - 1 and form.next.disabled
    form.open.click()
    assert form.at == 0
    assert load_sheet(tmp_path / "s.csv")["comment"].tolist().count("first") == 1


def test_the_form_resumes_and_knows_its_sheet(ds, pair, tmp_path):
    pytest.importorskip("ipywidgets")
    form = annotate(pair[0], tmp_path / "s.csv")
    for _ in range(3):
        form.answers["A"].click()
        form.abilities["temporal_reasoning"].click()
        form.next.click()
    again = annotate(pair[0], tmp_path / "s.csv")
    assert again.at == 3 and again.progress.value == 3
    with pytest.raises(ValueError, match="comes from another draw"):
        annotate(annotation_sheet(ds, 4, seed=5), tmp_path / "s.csv")
    for i in range(3, len(pair[0])):
        again.go(i)
        again.answers["A"].click()
        again.abilities["temporal_reasoning"].click()
    again.open.click()
    assert annotate(pair[0], tmp_path / "s.csv").progress.value == len(pair[0])


def test_a_failed_save_is_said(pair, tmp_path, monkeypatch):
    pytest.importorskip("ipywidgets")
    form = annotate(pair[0], tmp_path / "s.csv")

    def full(*_):
        raise OSError("no space left")

    monkeypatch.setattr("benchmark_profiling.annotation.os.replace", full)
    form.answers["A"].click()
    assert "NOT SAVED: no space left" in form.status.value
    monkeypatch.undo()
    form.abilities["temporal_reasoning"].click()
    assert load_sheet(tmp_path / "s.csv").at[0, "answer"] == "A" and "NOT SAVED" not in form.status.value


def test_the_form_shows_text_and_no_markup(pair, tmp_path):
    pytest.importorskip("ipywidgets")
    sheet = pair[0].copy()
    sheet.loc[0, ["context", "question"]] = ["<script>alert(1)</script>", "2 < 3 & <b>4</b>?"]
    form = annotate(sheet, tmp_path / "s.csv")
    assert "<script>" not in form.text.value and "2 &lt; 3 &amp; &lt;b&gt;4&lt;/b&gt;?" in form.text.value


def test_without_ipywidgets_the_way_out_is_named(pair, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "ipywidgets", None)
    with pytest.raises(ImportError, match="pip install ipywidgets"):
        annotate(pair[0], tmp_path / "s.csv")
