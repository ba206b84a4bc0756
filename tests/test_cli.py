"The command line: one line for what people can mend, a log for what is our fault, nothing lost."
import json, os, re, subprocess, sys

import pandas as pd
import pytest
from typer.testing import CliRunner

from benchmark_profiling import __version__
from benchmark_profiling.cli import app
from benchmark_profiling.config import ABILITY_KEYS, make_config
from benchmark_profiling.errors import in_options, line_for, words_for_user, write_log

VERBS = "profile run status report generate check importance ablate evaluate signatures".split()

def bprof(*args):
    "The command in this process."
    return CliRunner().invoke(app, [str(a) for a in args], env={"HF_HUB_OFFLINE": "1", "COLUMNS": "200"})

def the_line(done) -> str:
    "What a failed command says: one line that begins with `error:`, and no traceback."
    lines = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    code = done.exit_code if hasattr(done, "exit_code") else done.returncode
    assert code == 1 and len(lines) == 1 and "Traceback" not in done.stderr, done.stderr + done.stdout
    return lines[0]

@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch): monkeypatch.chdir(tmp_path)

# ---- what the user can mend

@pytest.mark.parametrize("args, said", [
    (["profile", "--limit", "0"], "limit: must be a number of items from 1 on, or all, not '0'"),
    (["profile", "--limit", "few"], "limit: must be a number of items from 1 on, or all, not 'few'"),
    (["profile", "--protect", "some"], "protect: must be contrast, text, none, not 'some'"),
    (["profile", "--abilities", "spatial"], "did you mean 'spatial_reasoning'?"),
    (["profile", "--questions", "1"], "questions: must be a whole number from 2, not 1"),
    (["profile", "--data-dir", "nowhere"], "there is no nowhere"),
    (["run", "nowhere.yaml"], "cannot read the config nowhere.yaml: No such file or directory"),
    (["run", "."], "cannot read the config .: Is a directory"),
    (["status", "nowhere"], "nowhere holds no run that has begun"),
    (["report", "nowhere"], "there is no nowhere"),
    (["generate", "spatial"], "did you mean 'spatial_reasoning'?"), (["generate"], "--all"),
    (["check", "nowhere.jsonl"], "there is no nowhere.jsonl"),
    (["importance", "nowhere.jsonl"], "there is no nowhere.jsonl"),
    (["ablate", "nowhere.safetensors", "--k", "0.1"], "there is no nowhere.safetensors"),
    (["ablate", "nowhere.safetensors", "--k", "2"], "k: must be a number above 0 and at most 1, not 2.0"),
    (["evaluate", "piqa", "--limit", "0"], "limit: must be"),
    (["evaluate", ","], "tasks: must be names, one or more"),
    (["evaluate", "piqa", "--data-dir", "nowhere"], "there is no nowhere"),
    (["signatures"], "--perplexity"), (["signatures", "nowhere"], "there is no nowhere/outcomes.parquet"),
], ids=lambda v: " ".join(v) if isinstance(v, list) else "")
def test_what_needs_no_library_is_said_at_once_in_one_line(args, said, tmp_path):
    "Before anything is loaded, and without a word of Python or of pydantic."
    done = bprof(*args)
    assert said in the_line(done) and "loading" not in done.stderr and not list(tmp_path.iterdir())

def test_damaged_files_are_one_line(tmp_path, tiny_folder):
    "Whatever a library throws at a file that is cut off."
    (tmp_path / "scores.safetensors").write_bytes(b"\x40\0\0\0\0\0\0\0{\"a\":")
    assert "safetensors" in the_line(bprof("ablate", "scores.safetensors", "--k", "0.1"))
    (tmp_path / "rows.jsonl").write_text("{\n")
    assert "rows.jsonl" in the_line(bprof("check", "rows.jsonl"))
    (tmp_path / "s.csv").write_text("")
    assert "s.csv" in the_line(bprof("signatures", "--scores", "s.csv", "--perplexity", "s.csv"))
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "outcomes.parquet").write_text("PAR1")
    assert "outcomes.parquet is damaged" in the_line(bprof("report", "run"))
    assert not list(tmp_path.rglob("bprof-error*"))

def error(kind, module, text, frame="transformers.modeling"):
    "An error of a class of another package, raised in a module of it."
    base = {"ValueError": ValueError, "RuntimeError": RuntimeError}.get(kind, Exception)
    space = {"__name__": frame, "raised": type(kind, (base,), {"__module__": module})(text)}
    try: exec("raise raised", space)
    except Exception as e: return e

@pytest.mark.parametrize("e, said", [
    (error("SafetensorError", "safetensors._safetensors_rust", "too large"), "safetensors: too large"),
    (error("ValueError", "builtins", "Unrecognized\nmodel"), "transformers: Unrecognized model"),
    (error("RuntimeError", "builtins", "size mismatch"), "transformers: size mismatch"),
    (error("RuntimeError", "builtins", "out of memory", "torch.nn"), "no memory left (out of memory)"),
    (error("TransportError", "httpx", "no route", "httpx"), "httpx: no route"),
    (error("UnpicklingError", "_pickle", "invalid load key", "torch.x"), "pickle: invalid load key"),
    (error("ValueError", "builtins", "shapes do not match", "numpy"), None), (KeyError("spatial"), None),
    (FileNotFoundError(2, "No such file or directory", "a.json"), "a.json: No such file or directory"),
    (ConnectionError("refused"), "refused"), (MemoryError(), "no memory left"),
    (RecursionError("too deep"), None),
    (ModuleNotFoundError("no", name="bitsandbytes.nn"), "the package bitsandbytes is missing"),
    (ModuleNotFoundError("No module named", name="benchmark_profiling.nothing"), None),
], ids=lambda v: f"{type(v).__name__}" if isinstance(v, Exception) else "")
def test_whose_fault_it_is(e, said):
    words = words_for_user(e)
    assert words is None if said is None else words.startswith(said) and "\n" not in words

def test_a_library_that_stumbles_is_named_and_the_traceback_kept(tmp_path):
    "No `raise` of anybody: a slip in the library, or a file that it did not expect."
    space = {"__name__": "transformers.tokens"}
    try: exec("def read(file): return file['added_tokens']\nread({})", space)
    except KeyError as e: said, words = line_for(e, tmp_path, {}), words_for_user(e)
    assert words is None
    assert said.startswith("transformers cannot deal with what it was given (KeyError: 'added_tokens')")
    assert "added_tokens" in next(tmp_path.glob("bprof-error*.log")).read_text()

def test_a_raise_of_ours_is_for_the_user_and_a_slip_of_the_same_class_is_not():
    from benchmark_profiling import config
    with pytest.raises(ValueError) as said: config.make_config(limit=0)
    with pytest.raises(ValueError) as slip: str(config.Change({"k": (1,)}, True))   # one value, taken for two
    assert words_for_user(said.value) == str(said.value) and words_for_user(slip.value) is None

# ---- what is our fault

SLIP = """
import sys
from benchmark_profiling import cli, run
def slip(folder): return {}["the key is " + "sk-" + "0123456789abcdef"]
run.remake = slip
cli.app(sys.argv[1:])
"""

def test_our_fault_is_one_line_that_names_a_log(tmp_path):
    "In the run folder where there is one; a key is in neither. BPROF_DEBUG=1 shows the traceback."
    (tmp_path / "run").mkdir()
    secret = "correct horse battery staple"
    def call(**env):
        env = os.environ | {"MY_API_KEY": secret} | env
        command = [sys.executable, "-c", SLIP, "report", "run"]
        return subprocess.run(command, env=env, capture_output=True, text=True)
    line = the_line(call())
    log = tmp_path / re.search(r"the traceback is in (\S+),", line)[1]
    text = log.read_text()
    assert log.parent == tmp_path / "run" and "not of yours (KeyError: " in line
    assert "Traceback (most recent call last)" in text and "torch" in text and "report run" in text
    assert "sk-0123" not in line + text and secret not in text
    shown = call(BPROF_DEBUG="1")
    assert shown.returncode == 1 and "Traceback" in shown.stderr and "KeyError" in shown.stderr
    assert len(list(tmp_path.rglob("bprof-error*"))) == 1

def test_a_log_finds_a_place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SOME_TOKEN", "0123456789")
    here = write_log(ValueError("0123456789 https://me:word@host"), tmp_path / "nowhere")
    assert here.exists() and not here.is_absolute() and "0123456789" not in here.read_text()
    assert "https://***@host" in here.read_text()

def test_errors_speak_as_the_command_line_does():
    options = {n: "--" + n.replace("_", "-") for n in ("max_tokens", "max_cost", "device", "data_dir")}
    assert in_options("give max_tokens, max_cost or both", options) == "give --max-tokens, --max-cost or both"
    assert in_options("use device='auto'", options) == "use --device auto"
    assert in_options("no rows in /my/data_dir/piqa", options) == "no rows in /my/data_dir/piqa"
    assert in_options("allow_code_execution=True (--allow-code-execution)", {}) == "--allow-code-execution"

# ---- help

@pytest.mark.parametrize("verb", VERBS)
def test_help_of_every_verb_has_an_example_that_parses(verb):
    from typer.main import get_command
    command = get_command(app).commands[verb]
    example = re.match(r"Example: bprof (\S+) (.*)", command.epilog)
    assert example[1] == verb
    command.make_context(verb, example[2].split())

def test_help_names_the_verbs_the_abilities_and_the_keys_of_a_config():
    whole, run, version = bprof("--help").stdout, bprof("run", "--help").stdout, bprof("--version").stdout
    assert all(f" {verb} " in whole for verb in VERBS) and version == f"bprof {__version__}\n"
    for text in (whole, bprof("generate", "--help").stdout, bprof("profile", "--help").stdout):
        plain = re.sub(r"[│\s]+", "", text)
        assert all(ability in plain for ability in ABILITY_KEYS)
    assert "questions_dir: folder" in run and "unions: " in run and "Config" not in run

# ---- nothing is lost

def test_a_finished_profile_is_not_replaced_by_another(tmp_path):
    "Found before a library is loaded."
    out = tmp_path / "runs" / "quickstart"
    out.mkdir(parents=True)
    (out / "profile.parquet").touch()
    facts = dict(config=make_config(tasks="piqa").model_dump(mode="json"), weights="w")
    (out / "run.json").write_text(json.dumps(facts))
    (tmp_path / "quickstart.yaml").write_text("tasks: piqa\nlimit: 20\n")
    for args, said in [
        (["profile", "--tasks", "piqa", "--limit", "20"], "limit 50 → 20"),
        (["profile", "--tasks", "sciq", "--out", out], "tasks piqa → sciq"),
        (["profile", "--tasks", "piqa", "--model", "a/b", "--out", out], "model smollm2-135m-instruct → a/b"),
        (["run", "quickstart.yaml"], "limit 50 → 20"),
    ]:
        done = bprof(*args)
        assert said in the_line(done) and "--replace" in the_line(done) and "loading" not in done.stderr
    assert sorted(p.name for p in out.iterdir()) == ["profile.parquet", "run.json"]

@pytest.mark.parametrize("args, kept", [
    (["evaluate", "piqa"], "outcomes.parquet"), (["importance", "q.jsonl"], "scores.safetensors"),
    (["ablate", "q.jsonl", "--k", ".1"], "ablated/model.safetensors"),
    (["check", "q.jsonl", "--card", "README.md"], "README.md"),
    (["generate", "spatial_reasoning", "temporal_reasoning"], "questions/temporal_reasoning.jsonl"),
], ids=lambda v: v[0] if isinstance(v, list) else "")
def test_no_file_is_written_over_silently(args, kept, tmp_path):
    "Said before the work; with --overwrite it begins."
    (tmp_path / "q.jsonl").write_text("{}\n")
    (tmp_path / kept).parent.mkdir(exist_ok=True)
    (tmp_path / kept).write_text("mine")
    done = bprof(*args)
    assert "is there already; name another place, or add --overwrite" in the_line(done)
    assert "loading" not in done.stderr
    assert (tmp_path / kept).read_text() == "mine"

def test_outcomes_are_written_once_and_carry_what_they_are(tmp_path, tiny_folder):
    from benchmark_profiling.store import read_cell
    ask = ["evaluate", "copa", "--model", tiny_folder, "--limit", "5"]
    assert bprof(*ask).exit_code == 0
    first = read_cell(tmp_path / "outcomes.parquet")
    assert len(first) == 5 and len(pd.read_parquet(tmp_path / "outcomes.parquet")) == 5
    assert "outcomes.parquet is there already" in the_line(bprof(*ask))
    assert bprof(*ask[:-1], "all", "--overwrite").exit_code == 0
    assert len(read_cell(tmp_path / "outcomes.parquet")) == 100

FIRST = """
import sys
from benchmark_profiling import cli
SLOW = {"torch", "transformers", "pandas", "datasets", "matplotlib"}
def begin(what): raise SystemExit(f"{what}: {sorted(SLOW & sys.modules.keys())}")
cli.begin = begin
for line in sys.argv[1:]:
    try: cli.app(line.split())
    except SystemExit as e: print(e.code)
"""

def test_a_first_word_comes_before_the_libraries(tmp_path):
    "Nothing slow is imported when it is said."
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / "outcomes.parquet").touch()
    (tmp_path / "c.yaml").write_text("tasks: piqa")
    lines = ["profile", "run c.yaml", "report f", "generate --all", "check c.yaml", "evaluate piqa",
             "importance c.yaml", "ablate c.yaml --k .1", "signatures f"]
    done = subprocess.run([sys.executable, "-c", FIRST, *lines], capture_output=True, text=True)
    said = done.stdout.splitlines()
    assert len(said) == len(lines), done.stdout + done.stderr
    assert all(s.startswith("loading ") and s.endswith(": []") for s in said), said

# ---- nothing is passed over

@pytest.mark.parametrize("args, said", [
    (["generate", "spatial_reasoning", "--base-url", "http://localhost:8000/v1"],
     "--base-url: for the LLM writer only"),
    (["generate", "spatial_reasoning", "--max-cost", "1", "--verify"],
     "--max-cost, --verify: for the LLM writer only"),
    (["generate", "spatial_reasoning", "--llm", ""], "--llm is given, but empty"),
    (["evaluate", "piqa", "--data-dir", ""], "--data-dir is given, but empty"),
    (["profile", "--out="], "--out is given, but empty"),
    (["signatures", "run", "--scores", "s.csv"], "name run folders, or give both"),
    (["ablate", "run", "--k", "0.1"], "run is a folder; name one of the files in it"),
], ids=lambda v: " ".join(v) if isinstance(v, list) else "")
def test_an_option_that_would_be_passed_over_is_refused(args, said, tmp_path):
    "With a variable of the shell that is not set, and where the built-in writer would answer for a model."
    (tmp_path / "run").mkdir()
    done = bprof(*args)
    assert said in the_line(done) and "loading" not in done.stderr and not list((tmp_path / "run").iterdir())

def test_home_is_home(tmp_path, monkeypatch):
    "A shell leaves ~ as it is in --out=~/q."
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert bprof("generate", "spatial_reasoning", "--n", "2", "--out=~/q").exit_code == 0
    assert (tmp_path / "home" / "q" / "spatial_reasoning.jsonl").exists() and not (tmp_path / "~").exists()

CELL = {"state": "intact", "task": "piqa", "cell": "a"}

@pytest.mark.parametrize("text", ["", "[]", "{}", '{"store": "s", "cells": [',
                                  '{"store": "s", "cells": [{"state": 1}]}',
                                  '{"cells": 5}', "\xff\xfe"], ids=ascii)
def test_a_damaged_list_of_cells_is_named(text, tmp_path):
    (tmp_path / "grid.json").write_text(text, encoding="latin1")
    assert "grid.json is damaged" in the_line(bprof("status", "."))
    assert not list(tmp_path.glob("bprof-error*"))

def test_status_passes_over_what_no_run_wrote(tmp_path):
    "Lines that are no events, errors without a word, files of another program."
    cells = [CELL, CELL | dict(cell="b", task="copa")]
    (tmp_path / "grid.json").write_text(json.dumps(dict(store="s", cells=cells)))
    odd = b'5\nnull\n[]\n{}\n{"event": "start"}\n{"event": "map finished"}\n\xff\xfe\n'
    (tmp_path / "events.jsonl").write_bytes(odd)
    (tmp_path / "s" / "cells" / "piqa").mkdir(parents=True)
    (tmp_path / "s" / "cells" / "copa").mkdir()
    (tmp_path / "s" / "cells" / "piqa" / "a.error").write_bytes(b"")
    pd.DataFrame(dict(score=[1.0])).to_parquet(tmp_path / "s" / "cells" / "copa" / "b.parquet")
    done = bprof("status", ".")
    assert done.exit_code == 1 and "1 failed, 1 missing" in done.stdout, done.stdout + done.stderr
    assert "intact on piqa: no reason was written down" in done.stdout
    assert "intact on copa: damaged: it was not written by bprof" in done.stdout

@pytest.mark.parametrize("text, said", [("", "run.json is damaged"), ("[]", "run.json is damaged"),
                                        ("{}", "run.json is damaged: it lacks config, weights"),
                                        ('{"config": {}, "weights": "w"}',
     "run.json is damaged: it lacks k, calibration")])
def test_a_damaged_run_json_is_named(text, said, tmp_path):
    from benchmark_profiling.store import save_cell
    row = dict(task="piqa", item_id=["1"], score=[1.0], chance=[0.5], p_gold=[0.7], state="intact")
    save_cell(tmp_path / "outcomes.parquet", pd.DataFrame(row))
    (tmp_path / "run.json").write_text(text)
    assert said in the_line(bprof("report", "."))

def test_a_checkpoint_is_no_importance_scores(tiny_folder, tmp_path):
    done = bprof("ablate", tiny_folder / "model.safetensors", "--k", "0.1", "--model", tiny_folder)
    assert "model.safetensors holds no importance scores" in the_line(done)

# ---- questions of one's own

def test_a_file_with_questions_of_another_ability_is_refused(tmp_path):
    "Or its region would bear the wrong name."
    from benchmark_profiling.regions import diagnostic_questions
    assert bprof("generate", "temporal_reasoning", "--n", "4").exit_code == 0
    config = make_config(questions_dir="questions", questions=20)
    assert len(diagnostic_questions(config, "temporal_reasoning")) == 4
    folder = tmp_path / "questions"
    (folder / "temporal_reasoning.jsonl").rename(folder / "spatial_reasoning.jsonl")
    with pytest.raises(ValueError, match="spatial_reasoning.jsonl holds .* 'temporal_reasoning'"):
        diagnostic_questions(config, "spatial_reasoning")
