"The package for those who install it: imports, types, extras, version, what is in the archives."

import configparser, os, re, subprocess, sys, tarfile
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent
MODULES = sorted(p.stem for p in (ROOT / "benchmark_profiling").glob("[a-z]*.py"))


def settings():
    parser = configparser.ConfigParser(delimiters=["="])
    parser.read(ROOT / "settings.ini")
    return parser["DEFAULT"]


ALONE = """
import importlib, os, sys
import torch, transformers, datasets, lm_eval.tasks, lm_eval.models.huggingface
import pandas, scipy.stats, matplotlib, typer
import pydantic   # what is slow and not ours, once
missing, modules = sys.argv[1].split(","), sys.argv[2].split(",")
for m in modules:
    pid = os.fork()
    if not pid:
        for name in filter(None, missing): sys.modules[name] = None
        try: importlib.import_module("benchmark_profiling." + m)
        except BaseException as e: print(m, type(e).__name__, e); sys.stdout.flush(); os._exit(1)
        os._exit(0)
    os.waitpid(pid, 0)
"""

EXTRAS = "ray,openai,tenacity,IPython,ipywidgets,nbdev"
WRITERS = ["batches", "endpoint", "writer"]  # these need the extra `llm`


@pytest.mark.parametrize(
    "missing, fail", [("", []), (EXTRAS, WRITERS)], ids=["everything installed", "no extras"]
)
def test_every_module_can_be_imported_alone(missing, fail):
    out = subprocess.run(
        [sys.executable, "-c", ALONE, missing, ",".join(MODULES)], capture_output=True, text=True, cwd=ROOT
    )
    assert out.returncode == 0 and [line.split()[0] for line in out.stdout.splitlines()] == fail, (
        out.stdout + out.stderr[-500:]
    )


def test_no_import_goes_in_a_circle():
    needs = {
        m: set(
            re.findall(r"^from \.(\w+) import", (ROOT / "benchmark_profiling" / f"{m}.py").read_text(), re.M)
        )
        for m in MODULES
    }
    for lowest in ("states", "store", "errors", "abilities"):
        assert not needs[lowest], lowest
    assert needs["config"] == {"abilities"}
    for plain in ("ais", "plots", "report"):
        assert not needs[plain] & {"models", "evaluation", "ablation", "run"}, plain
    while ready := [m for m, n in needs.items() if not n & needs.keys()]:
        for m in ready:
            del needs[m]
    assert not needs


def test_types_and_lint_are_clean():
    for tool in (["mypy"], ["ruff", "check"]):
        out = subprocess.run([BIN / tool[0], *tool[1:]], cwd=ROOT, capture_output=True, text=True)
        assert out.returncode == 0, out.stdout


def test_dir_shows_public_names_only():
    "What a module imports is not what it offers; the package names its modules, and loads one when asked."
    code = """
import sys
import benchmark_profiling as package
assert dir(package) == ["__version__", *sys.argv[1].split(",")] and "torch" not in sys.modules
for name in ("store", "config", "errors", "states", "cli"):
    module = getattr(package, name)
    assert dir(module) == sorted(module.__all__) and not [n for n in dir(module) if n.startswith("_")], name
assert "Path" not in dir(package.store) and not hasattr(package, "nothing")
"""
    done = subprocess.run([sys.executable, "-c", code, ",".join(MODULES)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


USER = """
from pathlib import Path
from benchmark_profiling.ablation import Region, ablated, select
from benchmark_profiling.ais import Profile, profile
from benchmark_profiling.datagen import generate
from benchmark_profiling.models import load_model

model, tokenizer = load_model("smollm2-135m-instruct")
region: Region = Region.load("a").union(Region.load("b")).top(0.01)
with ablated(model, region): pass
p: Profile = profile(Path("x"))
generate(3, "many")   # wrong twice
"""


def test_a_user_gets_types(tmp_path):
    "The package says that it is typed; a checker sees right and wrong uses of it."
    (tmp_path / "user.py").write_text(USER)
    out = subprocess.run(
        [BIN / "mypy", "--config-file", ROOT / "pyproject.toml", tmp_path / "user.py"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    ).stdout
    lines = {int(n) for n in re.findall(r"user\.py:(\d+): error", out)}
    assert lines == {12}, out


def test_the_version_stands_in_one_place():
    from benchmark_profiling import __version__

    cff = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert __version__ == settings()["version"] == cff["version"]
    assert (
        {"cff-version", "message", "title", "authors", "license"} <= cff.keys()
        and cff["cff-version"] == "1.2.0"
        and cff["references"][0]["authors"]
    )
    assert re.search(
        rf"^## ({re.escape(__version__)}|Unreleased)$", (ROOT / "CHANGELOG.md").read_text(), re.M
    )


def test_extras_are_what_the_readme_of_an_error_names():
    s = settings()
    names = {k.removesuffix("_requirements") for k in s if k.endswith("_requirements")}
    assert names == {"llm", "ray", "docs", "dev"}

    def packages(key):
        return {re.match(r"[\w-]+", line)[0] for line in s[key].split("\n") if line}

    for extra in ("llm", "ray", "docs"):
        assert packages(f"{extra}_requirements") <= packages("dev_requirements"), extra
    pinned = (ROOT / "constraints.txt").read_text().lower().replace("_", "-")
    for key in ("requirements", *(f"{n}_requirements" for n in names)):
        for p in packages(key):
            assert re.search(rf"^{p.lower()}==", pinned, re.M), p


def test_the_archives_hold_the_package_and_nothing_else(tmp_path):
    subprocess.run(
        [sys.executable, "-m", "build", "--sdist", "--no-isolation", "--outdir", tmp_path, ROOT],
        check=True,
        capture_output=True,
    )
    names = [n.split("/", 1)[1] for n in tarfile.open(next(tmp_path.glob("*.tar.gz"))).getnames() if "/" in n]
    for part in (
        "settings.ini",
        "README.md",
        "LICENSE",
        "benchmark_profiling/py.typed",
        "benchmark_profiling/facts/world.json",
    ):
        assert part in names, part
    assert not [
        n
        for n in names
        if re.match(r"results/|runs/|nbs/|tests/|_docs|screenshots", n)
        or n.endswith((".parquet", ".ipynb", ".jsonl"))
    ]


def test_hooks_and_workflows_are_valid_and_name_what_exists():
    for f in [ROOT / ".pre-commit-config.yaml", *(ROOT / ".github").rglob("*.yml")]:
        assert yaml.safe_load(f.read_text()), f.name
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    assert {h["entry"].split("/")[-1].split()[0] for h in hooks} == {
        "nbdev_clean",
        "nbdev_export",
        "ruff",
        "mypy",
    }
    for h in hooks:
        assert (BIN / h["entry"].split("/")[-1].split()[0]).exists()
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
