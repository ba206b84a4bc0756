"Walking through a run's items, without a browser."

import json

import pandas as pd
import pytest
import torch

from benchmark_profiling.ablation import Region
from benchmark_profiling.evaluation import evaluate, load_tasks
from benchmark_profiling.explore import ask, ask_again, card, explore, find_items, flip_table, flips, read_run
from benchmark_profiling.models import mlp_parameters
from benchmark_profiling.config import Config
from benchmark_profiling.states import StateKind
from benchmark_profiling.store import save_cell


def outcomes(before, after, task="t"):
    rows = [("intact", task, str(i), b, 0.5, (1 + b) / 3) for i, b in enumerate(before)] + [
        ("spatial_reasoning", task, str(i), a, 0.5, (1 + a) / 3) for i, a in enumerate(after)
    ]
    return pd.DataFrame(rows, columns=["state", "task", "item_id", "score", "chance", "p_gold"])


def test_flips_are_counted():
    t = outcomes([1.0, 1.0, 0.0, 0.0], [1.0, 0.0, 1.0, 0.0])
    assert flips(t, "t", "spatial_reasoning").change.to_dict() == {
        "0": "right",
        "1": "lost",
        "2": "gained",
        "3": "wrong",
    }
    assert (
        flips(t, "t", "spatial_reasoning").index[0] == "1"
        and flip_table(t).loc["spatial_reasoning", "t"] == "−1 +1"
    )
    with pytest.raises(ValueError, match="no outcomes on 'u'; there are t"):
        flips(t, "u", "spatial_reasoning")
    with pytest.raises(ValueError, match="no outcomes of 'x' on t"):
        flips(t, "t", "x")
    with pytest.raises(ValueError, match="other items"):
        flips(t[:-1], "t", "spatial_reasoning")


OWN = """
task: plurals
output_type: multiple_choice
test_split: test
doc_to_text: "One {{word}}, two"
doc_to_choice: "{{forms}}"
doc_to_target: answer
metric_list: [{metric: acc, aggregation: mean, higher_is_better: true}]
"""


@pytest.fixture
def folder(tmp_path, tiny):
    "A run folder of our own benchmark; one of its questions holds what HTML must not take for its own."
    rows = [
        dict(word=w, forms=[w + "s", p, "<b>none</b>"], answer=1)
        for w, p in (("goose", "geese"), ("mouse", "mice"), ("foot", "feet"))
    ]
    (tmp_path / "plurals.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    (tmp_path / "plurals.yaml").write_text(OWN)
    config = Config(tasks=["plurals"], data_dir=tmp_path, limit=3, abilities=["spatial_reasoning"])
    intact = evaluate(*tiny, ["plurals"], limit=3, data_dir=tmp_path, progress=False)
    found = pd.concat(
        [intact, intact.assign(state="spatial_reasoning", score=1 - intact.score)], ignore_index=True
    )
    save_cell(tmp_path / "outcomes.parquet", found)
    (tmp_path / "config.yaml").write_text(json.dumps(config.model_dump(mode="json")))
    return tmp_path, config, found


def test_the_picker_shows_the_question_and_marks_the_right_option(folder):
    path, config, found = folder
    (benchmark, state, kind), (pick, shown) = (b.children for b in explore(path).children)
    assert (
        len(pick.options) == 3
        and "geese" in shown.value + "".join(_seen(pick, shown))
        and "&lt;b&gt;none" in shown.value
        and "<b>none" not in shown.value
    )
    assert "<b>geese</b>" in "".join(_seen(pick, shown)) and len(set(_seen(pick, shown))) == 3
    kind.value = "right"
    assert not pick.options and "no item is right here" in shown.value


def _seen(pick, shown):
    out = []
    for _, i in pick.options:
        pick.value = i
        out.append(shown.value)
    return out


def test_without_its_rows_an_item_still_shows_its_numbers(folder):
    path, config, found = folder
    (path / "plurals.jsonl").unlink()
    shown = explore(path).children[1].children[1]
    assert "not at hand" in shown.value and "probability of the right answer" in shown.value


def test_the_model_is_asked_again_and_left_whole(folder, tiny):
    path, config, found = folder
    model, tokenizer = tiny
    items = find_items(config, "plurals", 3)
    task, item = items[found.item_id[0]]
    region = Region.ranked(
        ["model.layers.0.mlp.up_proj.weight"],
        torch.zeros(500, dtype=torch.long),
        torch.arange(500),
        sum(p.numel() for p in mlp_parameters(model).values()),
    )
    table = ask_again(task, item, model, tokenizer, region)
    assert (
        table.before.sum() == pytest.approx(1)
        and table.after.sum() == pytest.approx(1)
        and (table.before != table.after).any()
    )
    assert table.before[ask(task, item)[2][0]] == pytest.approx(found.p_gold[0], abs=1e-6)
    assert ask_again(task, item, model, tokenizer, region).before.tolist() == table.before.tolist()
    row = flips(found, "plurals", "spatial_reasoning").loc[item.id]
    assert card(row, (task, item), table).count("%") >= 9 and len(task.items) == 3


def test_tasks_whose_options_stand_in_the_prompt_and_tasks_without_options():
    wino, lambada = (load_tasks(n, 1)[0] for n in ("winogrande", "lambada_openai"))
    prompt, options, right = ask(wino, wino.items[0])
    assert prompt == "" and len(options) == 2 and len(right) == 1
    assert len(ask(lambada, lambada.items[0])[1]) == 1


def test_what_is_no_finished_run_ends_in_one_line(folder):
    path, config, found = folder

    def said(error, match):
        with pytest.raises(error, match=match) as e:
            explore(path)
        assert "\n" not in str(e.value)

    save_cell(path / "outcomes.parquet", found[found.state == "intact"])
    said(ValueError, "outcomes of the intact model only")
    save_cell(path / "outcomes.parquet", found.assign(task="others"))
    said(ValueError, "mixes two runs: its outcomes have 'others'")
    save_cell(path / "outcomes.parquet", found.drop(columns="p_gold"))
    said(ValueError, "there is no column 'p_gold'")
    (path / "run.json").write_text("{")
    save_cell(path / "outcomes.parquet", found)
    said(ValueError, "run.json is damaged")
    (path / "outcomes.parquet").write_bytes(b"PAR1")
    said(ValueError, "outcomes.parquet is damaged")
    (path / "outcomes.parquet").unlink()
    said(FileNotFoundError, "is no finished run: it has no outcomes.parquet")
    with pytest.raises(ValueError, match="the run has no benchmark 'piqa'; it has plurals"):
        find_items(config, "piqa", 3)


def test_the_kind_of_a_state_is_what_the_run_recorded(folder):
    path, config, found = folder
    odd = found.replace({"state": {"spatial_reasoning": "my region"}})
    save_cell(
        path / "outcomes.parquet", pd.concat([odd, odd[odd.state == "my region"].assign(state="chance draw")])
    )
    kinds = {"intact": "intact", "my region": "ability", "chance draw": "random"}
    (path / "run.json").write_text(json.dumps(dict(states={s: dict(kind=k) for s, k in kinds.items()})))
    finished = read_run(path)
    assert finished.kinds == {s: StateKind(k) for s, k in kinds.items()}
    assert list(flip_table(finished.outcomes, finished.kinds).index) == ["my region"]
