"Settings: what may be written, what is said of what may not, and when a run goes on in a folder."
import json

import pytest

from benchmark_profiling.config import ABILITY_KEYS, Config, allowed, check_folder
from benchmark_profiling.config import compare, load_config, make_config

@pytest.mark.parametrize("text, same", [
    ("limit: all", dict(limit=None)), ("limit: null", dict(limit=None)), ("limit: '300'", dict(limit=300)),
    ("{tasks: 'piqa,sciq', limit: {piqa: all, sciq: 3}}", 
        dict(tasks=["piqa", "sciq"], limit={"piqa": None, "sciq": 3})),
    ("tasks: piqa, sciq, piqa", dict(tasks=["piqa", "sciq"])), ("ks: 0.1, 0.2", dict(ks=[0.1, 0.2])),
    ("abilities: all", dict()), ("abilities: spatial_reasoning", dict(abilities=["spatial_reasoning"])),
    ("unions: [pairs]", dict(unions="pairs")),
    ("unions: spatial_reasoning+temporal_reasoning",
        dict(unions=[["spatial_reasoning", "temporal_reasoning"]])),
    ("\ufefflimit: 3", dict(limit=3)),
])
def test_a_config_takes_what_a_flag_takes(text, same, tmp_path):
    (tmp_path / "c.yaml").write_text(text, encoding="utf8")
    assert load_config(tmp_path / "c.yaml") == make_config(**same)

WRONG = [
    dict(limit=0), dict(limit="few"), dict(limit=True), dict(limit=2.5),
    dict(limit={"piqa": 0}, tasks=["piqa"]),
    dict(controls=True), dict(questions=None), dict(questions="many"), dict(k="1%"), dict(k=float("nan")),
    dict(budget=float("inf")), dict(tasks=3), dict(tasks={"piqa": 1}), dict(tasks=[]), dict(tasks=[None]),
    dict(tasks=""), dict(abilities=object()), dict(unions="all"), dict(unions=3),
    dict(ks=["x"]), dict(share=0),
    dict(unions=[["spatial_reasoning"]]), dict(chat="maybe"), dict(model=7),
    dict(model=None), dict(data_dir=3),
    dict(model=10**400), dict(limit="x" * 5000), dict(abilities="a\nb"), dict(seed="1\n2"),
    dict(ks="y" * 900),
    dict(style="closed"), dict(protected=1), dict(track="wandb"), dict(store=[]),
    dict(seed=-1), dict(nothing=1),
]

@pytest.mark.parametrize("values", WRONG, ids=lambda values: ", ".join(values))
def test_wrong_values_are_one_line_in_plain_words(values):
    "The field and the value are named; pydantic's words never come through."
    with pytest.raises(ValueError) as e: make_config(**values)
    said = str(e.value)
    assert [*values][0] in said and "\n" not in said and len(said) < 300, said
    for word in ("Input", "valid", "parse", "Value error", "type=", "List", "constrained"):
        assert word not in said, said

@pytest.mark.parametrize("text", [
    "1: 2", "null: 3", "? [a]\n: b", "a: &x [*x]", "- a", "text", "!!python/object:os.system x",
    "limit: 2026-01-01",
    "limit: 1\nlimit: 2", "\t- a", "k: .1\n...\nk: .2", "\0", "---\na: 1\n---\nb: 1",
    "limit: {a: 1, a: 2}", "k: &k [*k]"])
def test_any_text_ends_in_one_line_that_names_the_file(text, tmp_path):
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(ValueError) as e: load_config(tmp_path / "c.yaml")
    assert "c.yaml" in str(e.value) and "\n" not in str(e.value) and "unicode string" not in str(e.value)

def test_settings_in_a_dict_are_not_taken_for_none():
    with pytest.raises(ValueError, match=r"make_config\(\*\*settings\)"): make_config(dict(limit=3))

def test_help_of_a_config_names_every_field_and_what_it_may_hold():
    for name, field in Config.model_fields.items(): assert f"{name}: {field.description}" in Config.__doc__
    assert "(a number above 0 and at most 1)" in Config.__doc__ and "(mlp, attention, all)" in Config.__doc__
    names = ("k", "protect", "questions", "dtype", "data_dir")
    assert [allowed(name) for name in names] == ["a number above 0 and at most 1", "contrast, text, none",
                                                 "a whole number from 2", "text", "a path"]

@pytest.mark.parametrize("new, goes_on", [
    (dict(), True), (dict(limit=60), True), (dict(limit="all"), True),
    (dict(limit=40), False), (dict(controls=9), True),
    (dict(controls=4), False), (dict(tasks="piqa,sciq"), True), (dict(tasks="sciq"), False),
    (dict(model="other"), False),
    (dict(abilities="spatial_reasoning"), False), (dict(unions="pairs"), True), (dict(ks=[.1]), True),
    (dict(k=.1), False),
    (dict(seed=1), False), (dict(until_width=.1), True), (dict(repeat_intact=True), True),
    (dict(protected=.01), False),
    (dict(device="cuda", store="x", track="tensorboard", allow_code_execution=True), True),
    (dict(data_dir="x"), False),
    (dict(tasks="piqa,sciq", limit={"piqa": 50, "sciq": 3}), True), (dict(limit={"piqa": 3}), False),
    (dict(questions=50), False),
], ids=str)
def test_a_run_that_only_adds_goes_on_and_any_other_does_not_replace_a_profile(new, goes_on, tmp_path):
    old = make_config(tasks="piqa")
    facts = dict(config=old.model_dump(mode="json") | dict(gone=1), weights="w")
    (tmp_path / "run.json").write_text(json.dumps(facts))
    config = make_config(**{"tasks": "piqa", **new})
    check_folder(config, tmp_path)   # nothing is finished here
    (tmp_path / "profile.parquet").touch()
    change = compare(old, config)
    assert change.extends == goes_on and all(name in str(change) for name in change.differs)
    if goes_on: check_folder(config, tmp_path, weights="w")
    else:
        first = [*change.differs][0]
        with pytest.raises(ValueError, match=f"finished profile of another run .*{first}.*--replace"):
            check_folder(config, tmp_path)
    check_folder(config, tmp_path, replace=True)
    with pytest.raises(ValueError, match="--replace"): check_folder(config, tmp_path, weights="others")
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(ValueError, match="run.json"): check_folder(config, tmp_path)

@pytest.mark.parametrize("text, read", [("limit: 010", "010 is the number 8"),
                                        ("seed: 0017", "0017 is the number 15"),
                                        ("limit: 1:30", "1:30 is the number 90"),
                                        ("k: 0:30.5", "0:30.5 is the number 30.5")])
def test_numbers_that_yaml_reads_as_others_are_refused(text, read, tmp_path):
    (tmp_path / "c.yaml").write_text(f"tasks: piqa\n{text}\n")
    with pytest.raises(ValueError, match=f"c.yaml .*line 2: {read} in YAML"): load_config(tmp_path / "c.yaml")

def test_numbers_that_are_what_they_look_like_are_read(tmp_path):
    (tmp_path / "c.yaml").write_text("limit: 100\nseed: 0\nk: 0.010\n"
                                     "ks: [1e-3, 0.02, 1.0e-3, 0.0200000001]\n")
    c = load_config(tmp_path / "c.yaml")
    assert (c.limit, c.seed, c.k, c.ks) == (100, 0, 0.01, [0.001, 0.0200000001])

def test_a_state_stands_there_once():
    "Two of one name end a run after all was computed; a+b is b+a."
    a, b, c = ABILITY_KEYS[:3]
    assert make_config(ks=[.1, .2, .1]).ks == [.1, .2]
    assert make_config(unions=f"{a}+{b}, {b}+{a}, {b}+{c}").unions == [[a, b], [b, c]]

def test_home_is_home_and_an_empty_place_is_refused():
    c = make_config(model="~/m", data_dir="~/rows", store="~/store")
    assert not any("~" in str(place) for place in (c.model, c.data_dir, c.store))
    assert c.data_dir.name == "rows"
    for name in ("model", "data_dir", "questions_dir", "store"):
        with pytest.raises(ValueError, match=f"{name}: is empty"): make_config(**{name: " "})

def test_a_seed_that_no_generator_takes_is_refused_at_once():
    with pytest.raises(ValueError, match="seed: must be a whole number from 0"): make_config(seed=2**32)
