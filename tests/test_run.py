"Whole runs through the command line, on a tiny random model: resume, kill -9, damage, bad input."

import json
import os
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from benchmark_profiling.ais import Profile
from benchmark_profiling.config import ABILITY_KEYS, Config, load_config, make_config
from benchmark_profiling.run import Run, run_profile
from benchmark_profiling.status import events, gone, standing, status
from benchmark_profiling.store import read_cell, save_cell

BPROF = str(Path(sys.executable).with_name("bprof"))
SMALL = (
    "--tasks arc_easy,piqa --limit 20 --abilities spatial_reasoning,temporal_reasoning "
    "--questions 4 --controls 1 --budget 1000"
).split()


def bprof(*args, **kw):
    return subprocess.run([BPROF, *map(str, args)], capture_output=True, text=True, timeout=300, **kw)


def table(folder):
    return Profile.load(folder).frame


@pytest.fixture(scope="module")
def undisturbed(tiny_folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "undisturbed"
    done = bprof("profile", "--model", tiny_folder, *SMALL, "--out", out)
    assert done.returncode == 0, done.stderr
    return out, done


def test_a_run_leaves_what_it_promises(undisturbed):
    out, done = undisturbed
    for name in (
        "profile.parquet",
        "outcomes.parquet",
        "heatmap.png",
        "heatmap.svg",
        "heatmap.pdf",
        "ribbons.png",
        "report.html",
        "run.json",
        "config.yaml",
        "grid.json",
        "cards/arc_easy.md",
        "cards/piqa.md",
    ):
        assert (out / name).stat().st_size > 0, name
    frame, outcomes = table(out), read_cell(out / "outcomes.parquet")
    run = json.loads((out / "run.json").read_text())
    states = {"intact", "spatial_reasoning", "temporal_reasoning", "random-0"}
    assert set(frame.ability) == {"spatial_reasoning", "temporal_reasoning"}
    assert set(frame.benchmark) == {"arc_easy", "piqa"}
    assert len(outcomes) == 2 * 20 * 4 and set(outcomes.state) == states
    assert outcomes.groupby("task").item_id.nunique().eq(20).all()
    assert run["versions"]["torch"] and set(run["k"]) == set(frame.ability) and 0 < min(run["k"].values())
    assert "arc" in done.stdout and not list(out.parent.glob("store/regions/*/maps"))
    page = (out / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 2 and "http" not in page.replace("http://www.w3.org", "")
    events_of = [e["event"] for e in events(out)]
    assert events_of[0] == "start" and events_of[-1] == "end"
    assert events_of.count("finished") == 8 and events_of.count("map finished") == 3


def test_the_json_of_a_run_says_what_each_state_is(undisturbed):
    told = json.loads((undisturbed[0] / "run.json").read_text())["states"]
    assert {name: facts["kind"] for name, facts in told.items()} == {
        "intact": "intact",
        "spatial_reasoning": "ability",
        "temporal_reasoning": "ability",
        "random-0": "random",
    }
    assert told["spatial_reasoning"]["ability"] == "spatial_reasoning"


def test_a_second_call_computes_nothing(undisturbed, tiny_folder):
    out, _ = undisturbed

    def stored():
        return {p: p.stat().st_mtime_ns for p in out.parent.glob("store/cells/*/*")}

    cells, before = stored(), table(out)
    again = bprof("profile", "--model", tiny_folder, *SMALL, "--out", out)
    assert again.returncode == 0 and "8 already there" in again.stderr and "estimate" not in again.stderr
    assert stored() == cells and len(cells) == 8
    pd.testing.assert_frame_equal(table(out), before)
    shown = bprof("status", out)
    assert shown.returncode == 0 and "8 done" in shown.stdout and "left" not in shown.stdout


def test_a_second_call_reads_each_cell_once(undisturbed, tiny_folder, monkeypatch):
    from benchmark_profiling import grid

    read, real = [], grid.read_cell

    def counted(path, **inputs):
        read.append(path)
        return real(path, **inputs)

    monkeypatch.setattr(grid, "read_cell", counted)
    run_profile(load_config(undisturbed[0] / "config.yaml"), undisturbed[0])
    assert len(read) == len(set(read)) == 8


def test_kill_9_of_the_command_changes_nothing(undisturbed, tiny_folder, tmp_path):
    "Once, with the command itself; twenty more times in test_faults."
    out = tmp_path / "killed"
    command = [BPROF, "profile", "--model", str(tiny_folder), *SMALL, "--out", str(out)]
    p = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while p.poll() is None and not any(e["event"] == "finished" for e in events(out)):
        time.sleep(0.005)
    assert gone(out) == [] and standing(out) == ""
    p.send_signal(signal.SIGKILL)
    p.wait()
    assert not (out / "profile.parquet").exists()
    shown = bprof("status", out)
    assert f"stopped: process {p.pid}" in shown.stdout and "running" not in shown.stdout
    assert bprof("profile", "--model", tiny_folder, *SMALL, "--out", out).returncode == 0
    assert standing(out) == "" and (status(out).status == "done").all()
    pd.testing.assert_frame_equal(table(out), table(undisturbed[0]))


def test_a_cell_that_was_being_computed_is_stopped_and_not_only_missing(tmp_path):
    "The process that began it is gone: its lock is free, and no error lies there."
    cells = [dict(state="intact", task="piqa", cell=key) for key in "ab"]
    (tmp_path / "grid.json").write_text(json.dumps(dict(store="store", cells=cells)))
    (tmp_path / "events.jsonl").write_text(
        json.dumps(
            dict(time="2026-01-01T00:00:00Z", event="started", pid=1, cell="a", state="intact", task="piqa")
        )
        + "\n"
    )
    assert status(tmp_path).status.tolist() == ["stopped", "missing"]


def test_report_needs_no_model(undisturbed):
    out, _ = undisturbed
    before = table(out)
    (out / "report.html").unlink()
    assert bprof("report", out).returncode == 0 and (out / "report.html").exists()
    pd.testing.assert_frame_equal(table(out), before)


BAD_OPTIONS = [
    (["--tasks", "arc_eazy"], "arc_easy"),
    (["--model", "no/such-model"], "no/such-model"),
    (["--abilities", "spatial"], "spatial_reasoning"),
    (["--limit", "0"], "limit"),
    (["--protect", "some"], "protect"),
    (["--k", "2"], "k"),
    (["--data-dir", "/nowhere"], "/nowhere"),
]


@pytest.mark.parametrize("args, said", BAD_OPTIONS, ids=lambda v: v[0] if isinstance(v, list) else "")
def test_bad_options_are_one_clear_line(args, said, tiny_folder, tmp_path):
    given = args if "--model" in args else ["--model", tiny_folder, *args]
    done = bprof("profile", *given, "--out", tmp_path / "out", env=os.environ | {"HF_HUB_OFFLINE": "1"})
    lines = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    assert len(lines) == 1 and said in lines[0], done.stderr


@pytest.mark.parametrize(
    "text, said",
    [
        ("tusks: [piqa]", "did you mean 'tasks'"),
        ("limit: few", "limit"),
        ("[1, 2]", "key: value"),
        ("a: [", "not valid YAML"),
        ("abilities: []", "abilities"),
        ("k: -1", "k:"),
        ("ks: [0.1, 2]", "ks.1"),
        ("unions: [[spatial_reasoning]]", "two abilities"),
        ("unions: [[spatial_reasoning, arithmetic]]", "unknown ability"),
        ("{abilities: [spatial_reasoning], unions: [[spatial_reasoning, temporal_reasoning]]}", "not among"),
        ("targets: mpl", "targets"),
    ],
)
def test_bad_configs_are_one_clear_line(text, said, tmp_path):
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(ValueError) as e:
        load_config(tmp_path / "c.yaml")
    assert said in str(e.value) and "\n" not in str(e.value)


def test_config_round_trip(tmp_path):
    c = make_config(limit=None, k=0.01024, protect="none")
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(c.model_dump(mode="json")))
    assert load_config(tmp_path / "c.yaml") == c


def test_ability_names_agree():
    from benchmark_profiling.datagen import ABILITIES

    assert tuple(ABILITIES) == ABILITY_KEYS == tuple(Config().abilities)


def test_a_flipped_bit_is_found(tmp_path):
    p_gold = np.random.default_rng(0).random(50)
    ids = [str(i) for i in range(50)]
    found = dict(state="x", task="t", item_id=ids, score=1.0, chance=0.25, p_gold=p_gold)
    save_cell(tmp_path / "c.parquet", pd.DataFrame(found))
    data = bytearray((tmp_path / "c.parquet").read_bytes())
    data[data.index(p_gold[20:21].tobytes())] ^= 1
    (tmp_path / "c.parquet").write_bytes(bytes(data))
    with pytest.raises(ValueError, match="damaged"):
        read_cell(tmp_path / "c.parquet")


def test_importing_the_package_and_help_need_no_torch():
    code = (
        "import sys, benchmark_profiling, benchmark_profiling.run\n"
        "sys.exit('torch' in sys.modules or 'pandas' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
    done = bprof("--help")
    assert done.returncode == 0 and "profile" in done.stdout


def test_report_sorts_and_says_how_to_do_it_again(undisturbed):
    page = (undisturbed[0] / "report.html").read_text()
    for part in (
        "prefers-color-scheme:dark",
        "aria-sort",
        "bprof run config.yaml",
        "arXiv:2510.01232",
        "width=device-width",
        "All cells",
        "Diagnosis",
    ):
        assert part in page, part
    card = (undisturbed[0] / "cards" / "piqa.md").read_text()
    assert "n = 20 items" in card and "chance 0.500" in card
    assert "## Provenance" in card and "| nan |" not in card


def test_ray_is_asked_for_by_name_where_it_is_missing(tiny_folder, tmp_path):
    code = "import sys; sys.modules['ray'] = None; from benchmark_profiling.cli import app; app(sys.argv[1:])"
    args = ["profile", "--model", tiny_folder, *SMALL, "--out", tmp_path / "run", "--workers", "2"]
    done = subprocess.run([sys.executable, "-c", code, *map(str, args)], capture_output=True, text=True)
    assert done.returncode == 1 and "pip install 'benchmark-profiling[ray]'" in done.stderr, done.stderr
    assert "Traceback" not in done.stderr and not (tmp_path / "run").exists()  # before anything long


def test_tensorboard_is_asked_for_by_name_where_it_is_missing(undisturbed, tiny_folder, tmp_path):
    config = make_config(model=str(tiny_folder), tasks=["piqa"], limit=5, track="tensorboard")
    if find_spec("tensorboard"):
        Run(config, tmp_path).board.add_scalar("intact/piqa/score", 0.5)
        assert list((tmp_path / "tensorboard").iterdir())
    else:
        with pytest.raises(ValueError, match="pip install tensorboard"):
            run_profile(config, tmp_path / "run")
        assert not (tmp_path / "run").exists()


def test_the_run_of_a_script_keeps_working(tiny_folder, tmp_path):
    config = make_config(
        model=str(tiny_folder),
        abilities=ABILITY_KEYS[-2:],
        questions=4,
        controls=1,
        style="cloze",
        protect="none",
        k=0.01,
        targets="attention",
    )
    run = Run(config, tmp_path / "run").load()
    regions = run.regions()
    assert list(regions) == [*ABILITY_KEYS[-2:], "random-0"]
    assert all(abs(r.fraction - 0.01) < 1e-3 for r in regions.values())
    assert all("self_attn" in n for n in regions["random-0"].indices)
    assert run.facts["k"] and len(run.questions(ABILITY_KEYS[-1])) == 4
    assert run.provenance()["weights"] == run.weights


def test_stage_verbs(tmp_path, tiny_folder):
    assert bprof("generate", "spatial_reasoning", "--n", "40", "--out", tmp_path / "q").returncode == 0
    checked = bprof("check", tmp_path / "q" / "spatial_reasoning.jsonl")
    assert "spatial" in checked.stdout and checked.returncode in (0, 1) and "Traceback" not in checked.stderr
    scores, checkpoint, outcomes = (tmp_path / n for n in ("s.safetensors", "ckpt", "o.parquet"))
    questions = tmp_path / "q" / "spatial_reasoning.jsonl"
    assert bprof("importance", questions, "--model", tiny_folder, "--out", scores).returncode == 0
    done = bprof("ablate", scores, "--k", "0.01", "--model", tiny_folder, "--out", checkpoint)
    assert done.returncode == 0 and (checkpoint / "model.safetensors").exists(), done.stderr
    done = bprof("evaluate", "piqa", "--model", checkpoint, "--limit", "5", "--out", outcomes)
    assert done.returncode == 0 and len(pd.read_parquet(outcomes)) == 5, done.stderr


def test_all_sets_are_written_and_checked(tmp_path):
    done = bprof("generate", "--all", "--n", "60", "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    assert sorted(p.stem for p in tmp_path.iterdir()) == sorted(ABILITY_KEYS)
    checked = bprof("check", *tmp_path.glob("*.jsonl"), "--card", tmp_path / "README.md")
    assert checked.returncode == 0 and all(a in checked.stdout for a in ABILITY_KEYS), checked.stdout
    assert (tmp_path / "README.md").read_text().startswith("---\nlicense")
    good = (tmp_path / "spatial_reasoning.jsonl").read_text()
    (tmp_path / "bad.jsonl").write_text(good.replace('"answer": 1', '"answer": 0'))
    bad = bprof("check", tmp_path / "bad.jsonl")
    assert bad.returncode == 1 and "problem: spatial_reasoning" in bad.stdout


@pytest.mark.parametrize(
    "args, said",
    [
        ([], "--all"),
        (["spatial"], "spatial_reasoning"),
        (["spatial_reasoning", "--all"], "--all"),
        (["spatial_reasoning", "--llm", "m"], "--max-tokens"),
        (["spatial_reasoning", "--llm", "m", "--max-tokens", "90000"], "OPENAI_API_KEY"),
    ],
)
def test_generate_explains_itself(args, said, tmp_path):
    env = {k: v for k, v in os.environ.items() if not k.startswith("OPENAI")}
    done = bprof("generate", *args, "--out", tmp_path, env=env)
    assert done.returncode == 1 and said in done.stderr and done.stderr.strip().count("\n") <= 1, done.stderr


def test_an_llm_writes_from_the_command_line(tmp_path):
    from test_writer import KEY, Server, question, reply

    def answer(i, body):
        if i < 6:
            return reply(question(2 * i), question(2 * i + 1))
        return 401, {"error": {"message": f"bad key {KEY}"}}, {}

    server = Server(answer)
    ask = ["generate", "quantitative_reasoning", "--llm", "m", "--max-tokens", "1000000"]
    ask += ["--base-url", server.url, "--out", tmp_path]
    env = {**os.environ, "OPENAI_API_KEY": KEY}
    done = bprof(*ask, "--n", "4", env=env)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "quantitative_reasoning.jsonl").read_text().count("\n") == 4, done.stderr
    shut = bprof(*ask, "--n", "400", env=env)
    assert shut.returncode == 1 and "HTTP 401" in shut.stderr
    assert KEY not in done.stderr + shut.stderr + shut.stdout
    server.http.shutdown()


def test_items_are_added_until_the_intervals_are_narrow(tiny_folder, tmp_path):
    "A random model is at chance, so its width asks for ever more items: all rows there are, and no more."
    rows = [
        {"goal": f"To count to {n}", "sol1": f"count to {n}", "sol2": f"sing {n} songs", "label": n % 2}
        for n in range(130)
    ]
    (tmp_path / "piqa.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    config = make_config(
        model=str(tiny_folder),
        tasks=["piqa"],
        limit=20,
        until_width=0.05,
        data_dir=tmp_path,
        abilities=["spatial_reasoning"],
        questions=4,
        controls=1,
        k=1e-3,
    )
    out = tmp_path / "run"
    run_profile(config, out)
    counts = [len(read_cell(p)) for p in (tmp_path / "store" / "cells" / "piqa").glob("*.parquet")]
    assert sorted(set(counts)) == [20, 100, 130]
    assert read_cell(out / "outcomes.parquet").groupby("state").size().eq(130).all()
    # only new items are scored when items are added: does it give the same?
    other = {"limit": {"piqa": None}, "until_width": None, "store": tmp_path / "other"}
    run_profile(make_config(**{**config.model_dump(), **other}), tmp_path / "at-once")
    grown, whole = (read_cell(folder / "outcomes.parquet") for folder in (out, tmp_path / "at-once"))
    assert grown.drop(columns="p_gold").equals(whole.drop(columns="p_gold"))
    assert np.allclose(grown.p_gold, whole.p_gold, atol=1e-5)
    finished = len(events(out))
    run_profile(config, out)  # finds all of it again
    assert [e["event"] for e in events(out)[finished:]] == ["start", "end"]
    with pytest.raises(ValueError, match="until_width"):
        make_config(until_width=0)
    with pytest.raises(ValueError, match="boolq is in only one"):
        make_config(tasks=["piqa"], limit={"piqa": 3, "boolq": 3})
    with pytest.raises(ValueError, match="limit"):
        make_config(tasks=["piqa"], limit={"piqa": 0})


def test_items_that_the_store_has_are_not_scored_again(tiny_folder, tmp_path, monkeypatch):
    from benchmark_profiling.grid import Scorer

    scored, real = [], Scorer.__call__

    def counted(self, *args, known=None, **settings):
        scored.append(0 if known is None else len(known))
        return real(self, *args, known=known, **settings)

    monkeypatch.setattr(Scorer, "__call__", counted)
    for limit in (6, 9, 4, 12):
        config = make_config(
            model=str(tiny_folder),
            tasks=["piqa"],
            limit=limit,
            abilities=["spatial_reasoning"],
            questions=4,
            controls=0,
            k=1e-3,
            store=tmp_path / "store",
        )
        run_profile(config, tmp_path / f"{limit}")
    assert scored == [0, 0, 6, 6, 0, 0, 9, 9]


def test_regions_of_a_bfloat16_model_come_from_float32_gradients(tiny_folder, tmp_path):
    "The maps equal those of the same weights in float32; afterwards the model is what it was, bit for bit."
    import torch
    from benchmark_profiling.importance import importance
    from benchmark_profiling.regions import in_float32

    config = make_config(model=str(tiny_folder), dtype="bfloat16", tasks=["arc_easy"], limit=20)
    run = Run(config, tmp_path / "r")

    def tensors():
        return dict([*run.model.named_parameters(), *run.model.named_buffers()])

    before = {n: t.clone() for n, t in tensors().items()}
    questions = run.questions("spatial_reasoning").select(range(4))
    with in_float32(run.model):
        mine = importance(run.model, run.tokenizer, questions)
    for n, t in tensors().items():
        assert t.dtype == before[n].dtype and torch.equal(t, before[n])
    with pytest.raises(KeyError), in_float32(run.model):
        raise KeyError
    assert run.model.dtype == torch.bfloat16
    other = importance(run.model.float(), run.tokenizer, questions)
    assert all(torch.equal(mine.tensors[n], other.tensors[n]) for n in other.tensors)


LLAMA = dict(
    model_type="llama",
    architectures=["LlamaForCausalLM"],
    hidden_size=4096,
    intermediate_size=14336,
    num_hidden_layers=32,
    num_attention_heads=32,
    num_key_value_heads=8,
    vocab_size=128256,
)


def test_a_large_model_is_planned_from_its_config_file_alone(tmp_path):
    "A dry run needs neither its weights nor its tokenizer."
    (tmp_path / "llama").mkdir()
    (tmp_path / "llama" / "config.json").write_text(json.dumps(LLAMA))
    config = make_config(
        model=str(tmp_path / "llama"), tasks=["gsm8k", "arc_easy"], limit=1000, dtype="bfloat16"
    )
    plan = run_profile(config, tmp_path / "run", dry_run=True)
    assert plan.cells == 2 * (1 + 10 + 5) and abs(plan.weights / 16.06e9 - 1) < 0.01
    assert abs(plan.for_a_while / (11 * 4 * 5.637e9) - 1) < 0.01 and plan.gpu_peak > plan.weights + 4 * 5.6e9
    assert plan.cell_minutes is None and "not known: time" in str(plan) and not (tmp_path / "run").exists()


def test_a_model_that_cannot_be_had_leaves_the_numbers_of_the_config(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    config = make_config(model="no-one/no-such-model", tasks=["gsm8k"], limit=None, ks=[0.001])
    said = str(run_profile(config, tmp_path / "run", dry_run=True))
    assert "26 states × 1 benchmark = 26 cells" in said and "gsm8k all" in said
    assert "not known: disk and memory: no config.json of no-one/no-such-model" in said


def test_the_memory_of_a_plan_is_what_the_process_takes(undisturbed, tiny_folder, tmp_path):
    "Libraries, logits and what a backward pass keeps are counted, not only weights and maps."
    plan = run_profile(load_config(undisturbed[0] / "config.yaml"), tmp_path / "run", dry_run=True)
    code = (
        "import resource, subprocess, sys\n"
        "subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)\n"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    command = [Path(sys.executable).with_name("bprof"), "run", undisturbed[0] / "config.yaml"]
    command += ["--out", tmp_path / "run", "--store", tmp_path / "store"]
    done = subprocess.run([sys.executable, "-c", code, *command], capture_output=True, text=True, check=True)
    taken = 1024 * int(done.stdout.split()[-1])  # of this one command
    assert 0.7 < plan.peak / taken < 1.6


def test_a_plan_knows_that_writing_is_slower_than_reading(tiny_folder, tmp_path):
    rows = [dict(question=f"How much is {n} + 1?", answer=f"#### {n + 1}") for n in range(20)]
    (tmp_path / "gsm8k.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    config = make_config(
        model=str(tiny_folder),
        tasks=["gsm8k"],
        limit=None,
        num_fewshot=0,
        data_dir=tmp_path,
        abilities=["spatial_reasoning"],
        questions=4,
        controls=0,
        k=1e-3,
        protect="none",
    )
    plan = run_profile(config, tmp_path / "run", dry_run=True)
    assert plan.written_per_second < plan.read_per_second

    steps = 256 * 2  # two batches of at most twelve, each as long as the task allows, in two states
    assert plan.cell_minutes * 60 > 0.9 * 2 * steps * 12 / plan.written_per_second


def test_states_are_counted_before_a_model_is_loaded(undisturbed, monkeypatch):
    from benchmark_profiling import regions
    from benchmark_profiling.run_states import run_states

    def refuse(*args):
        raise AssertionError("a model was loaded")

    monkeypatch.setattr(regions, "load_model", refuse)
    with pytest.raises(ValueError, match="4 states are too few to learn anything from, 8 or more"):
        run_states([undisturbed[0]], 400)


def test_another_run_in_the_folder_of_a_finished_one_is_refused(undisturbed, tmp_path):
    out, _ = undisturbed
    before = (out / "profile.parquet").read_bytes()
    config = load_config(out / "config.yaml")
    for change, said in (dict(limit=5), "limit 20 → 5"), (dict(model="smollm2-135m-instruct"), "model"):
        with pytest.raises(ValueError, match=said):
            run_profile(config.model_copy(update=change), out)
    assert (out / "profile.parquet").read_bytes() == before


def test_other_weights_under_the_same_name_do_not_replace_a_finished_profile(tmp_path):
    import torch
    from transformers import AutoModelForCausalLM
    from benchmark_profiling.regions import write_tiny

    config = make_config(
        model=write_tiny(tmp_path / "m"),
        tasks=["copa"],
        limit=5,
        questions=4,
        controls=0,
        k=1e-2,
        abilities=["spatial_reasoning"],
        protect="none",
        style="cloze",
    )
    run_profile(config, tmp_path / "run")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "m")
    with torch.no_grad():
        model.model.layers[0].mlp.up_proj.weight[0, 0] += 0.5
    model.save_pretrained(tmp_path / "m")
    with pytest.raises(ValueError, match="the weights of .* are others now"):
        run_profile(config, tmp_path / "run")


def test_an_error_of_a_cell_is_one_line_that_names_its_state(tiny_folder, tmp_path):
    "A region that makes the model overflow: the line names state, benchmark and what went wrong."
    config = make_config(
        model=str(tiny_folder),
        tasks=["copa"],
        limit=5,
        questions=4,
        controls=0,
        k=1e-2,
        abilities=["spatial_reasoning"],
        protect="none",
        style="cloze",
    )
    run = Run(config, tmp_path / "run")

    def fail(tasks, region=None, *, state, **settings):
        raise ValueError(f"NaN logits in state {state}:\nitem 3")

    run.scorer = fail
    from benchmark_profiling.run import fill, compute_here

    fill(run, compute_here)
    table = status(tmp_path / "run")
    assert table.status.eq("failed").all()
    assert table.error.tolist() == [f"ValueError: NaN logits in state {s}: item 3" for s in table.state]
