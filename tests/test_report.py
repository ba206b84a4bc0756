"The report and the cards: words that the numbers bear out, from stored files alone."

import json
import re
from pathlib import Path

import matplotlib
import pandas as pd
import pytest

from benchmark_profiling.ais import Profile, profile
from benchmark_profiling.report import card, interference, region_words, report_html, write_cards
from benchmark_profiling.states import StateKind

matplotlib.use("Agg")
QUICKSTART = Path(__file__).parent.parent / "results" / "quickstart"


@pytest.fixture(scope="module")
def run():
    return json.loads((QUICKSTART / "run.json").read_text())


@pytest.fixture(scope="module")
def outcomes():
    return pd.read_parquet(QUICKSTART / "outcomes.parquet")


def saved(folder, outcomes, run):
    "A folder as a run leaves it."
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "run.json").write_text(json.dumps(run))
    made = profile(outcomes, model=run["config"]["model"])
    made.save(folder)
    profile(outcomes, model=run["config"]["model"], on="score").save(folder / "accuracy")
    for name in ("heatmap", "ribbons"):
        getattr(made, name)().figure.savefig(folder / f"{name}.png")
    return folder


def row_of(text, ability):
    return next(line for line in text.splitlines() if line.startswith(f"| {ability} |"))


def test_the_report_is_one_page_that_needs_no_network(tmp_path, outcomes, run):
    page = report_html(saved(tmp_path, outcomes, run))
    assert "http" not in page.replace("http://www.w3.org", "") and page.count("data:image/png") == 2
    titles = re.findall(r"<h2[^>]*>([^<]*)", page)
    assert titles == [
        "What it says",
        "Profile",
        "Ribbons",
        "Diagnosis",
        "By probability of the right answer",
        "By right or wrong",
        "All cells",
        "Controls",
        "How the regions were chosen",
        "Do it again",
        "Cite",
        "Provenance",
    ]
    assert all(f'href="#s{i}"' in page and f'id="s{i}"' in page for i in range(len(titles)))
    assert "nan" not in re.sub(r"<pre>.*?</pre>|base64,[^\"]*|Provenance", "", page, flags=re.S)


def test_what_users_named_is_escaped(tmp_path, outcomes, run):
    odd = run | {"config": run["config"] | {"model": "<script>alert(1)</script>"}}
    page = report_html(saved(tmp_path, outcomes, odd))
    assert "<script>alert" not in page and "&lt;script&gt;alert" in page


def test_a_card_claims_no_more_than_the_numbers(outcomes, run):
    "+0.62 beside random regions within ±0.06 is not 'no more than random', and not surely beyond it either."
    p = profile(outcomes)
    row = row_of(card(p, "arc_easy", run), "analogical reasoning")
    assert "+0.621" in row and "no more than" not in row and "not surely beyond random regions" in row
    assert row.rstrip(" |").endswith("rests on it, but not surely beyond random regions")
    sure = card(p, "sciq", run)
    assert "Rests surely on: long term knowledge (+0.56), analogical reasoning (+0.56)." in sure
    alone = profile(outcomes[~outcomes.state.str.startswith("random")])
    assert "not compared with random regions" in row_of(card(alone, "arc_easy", run), "analogical reasoning")


def test_random_regions_are_not_called_as_large_as_the_abilities(outcomes, run):
    "They have the mean size, 0.162 %; the abilities' regions have 0.032 to 0.256 %."
    texts = [region_words(run), card(profile(outcomes), "arc_easy", run)]
    for text in texts:
        assert "same size" not in text and "as many random" not in text
        assert "0.162 %" in text and "0.032 % to 0.256 %" in text


@pytest.mark.parametrize(
    "spoil, why",
    [
        (lambda df: df.assign(chance=0.95), "the intact model is not above chance: copa"),
        (lambda df: df[df.item_id.isin(sorted(df.item_id.unique())[:10])], "fewer than 20 items: copa"),
    ],
)
def test_random_regions_that_cannot_be_judged_are_not_called_missing(tmp_path, outcomes, run, spoil, why):
    folder = saved(tmp_path, spoil(outcomes[outcomes.task == "copa"]), run)
    text, page = write_cards(folder)["copa"], report_html(folder)
    for words in (text, page):
        assert "o random regions were measured" not in words
    assert f"5 random regions measured, but not to be judged here ({why})" in text
    assert "5 random regions were measured, but nowhere to be judged" in page


@pytest.mark.parametrize(
    "lo, hi, words",
    [
        (-0.0003, -0.0001, "Perplexity does not rise (0.0 %)."),
        (-0.02, 0.031, "Perplexity changes by −2.0 % to 3.1 %."),
        (-0.0001, 0.031, "Perplexity rises by 0.0 % to 3.1 %."),
        (0.031, 0.031, "Perplexity rises by 3.1 %."),
    ],
)
def test_no_negative_zero(run, lo, hi, words):
    rows = [dict(ability=a, k=k, rise=rise) for (a, k), rise in zip(run["k"].items(), [lo, hi] * 5)]
    assert words in region_words(run | {"calibration": rows})


def test_the_share_of_protected_weights_is_that_of_the_run(run):
    assert "less the top 5 % for ordinary text" in region_words(run)
    assert "less the top 2 % for" in region_words(run | {"config": run["config"] | {"protected": 0.02}})


def test_unions_are_known_by_their_kind():
    frame = pd.DataFrame(
        dict(ability=["a", "b", "both"], benchmark="toy", ais=[0.1, 0.2, 0.25], lo=0.0, hi=0.4)
    )
    facts = {
        "a": dict(kind=StateKind.ABILITY, ability="a"),
        "b": dict(kind=StateKind.ABILITY, ability="b"),
        "both": dict(kind=StateKind.UNION, ability="a+b"),
    }
    found = interference(frame, facts)
    assert found.union.tolist() == ["a + b"] and found["joint less sum"].item() == pytest.approx(-0.05)


def test_a_profile_is_loaded_with_the_kinds_that_the_run_wrote(tmp_path, outcomes, run):
    kinds = {f"random-{i}": dict(kind="placebo", ability=None, question_set=0, k=None) for i in range(2)}
    folder = saved(tmp_path, outcomes, run | {"states": kinds})
    loaded = Profile.load(folder / "accuracy")
    assert loaded.kinds["random-0"] == StateKind.PLACEBO and loaded.kinds["random-4"] == StateKind.RANDOM
    assert "3 random regions" in loaded.summary()


def test_the_number_of_questions_is_the_one_that_was_asked(run):
    "A file of one's own may hold fewer than the config allows."
    older = {k: v for k, v in run.items() if k != "asked"}
    assert f"on {run['config']['questions']} questions" in region_words(older)
    assert "on 3 to 20 questions an ability" in region_words(run | dict(asked=dict(a=20, b=3)))
