"The repository is what its notebooks say, and reads as CONTRIBUTING asks."

import ast
import collections
import io
import json
import re
import shutil
import subprocess
import sys
import tokenize
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "benchmark_profiling"
NOTEBOOKS = sorted((ROOT / "nbs").glob("*.ipynb"))
MODULES = sorted(path for path in PACKAGE.glob("*.py") if not path.name.startswith("_"))
SCRIPTS = [
    path
    for folder in ("tests", "benchmarks", "studies", "docs")
    for path in sorted((ROOT / folder).glob("*.py"))
]
BIN = Path(sys.executable).parent
LONGEST_LINE, LONGEST_ROOM, LARGEST_CELL = 110, 450, 30


def cells(path: Path) -> list:
    return json.loads(path.read_text())["cells"]


def source(cell) -> str:
    return "".join(cell["source"])


def is_export(cell) -> bool:
    return bool(re.search(r"^#\s*\|\s*exports?\b", source(cell), re.M))


def parsed(cell) -> ast.Module:
    return ast.parse(re.sub(r"^[%!].*$", "", source(cell), flags=re.M))


def code_cells(path: Path) -> list:
    return [cell for cell in cells(path) if cell["cell_type"] == "code"]


def exported(path: Path) -> list:
    return [cell for cell in code_cells(path) if is_export(cell)]


def defines(cell) -> bool:
    return any(
        isinstance(s, (ast.FunctionDef, ast.ClassDef, ast.AsyncFunctionDef)) for s in parsed(cell).body
    )


# ---- the repository


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("house") / "copy"
    left_out = [".venv", "runs", ".git", "_docs", "_proc", "build", "*.egg-info", "results"]
    shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(*left_out))
    return folder


def test_the_package_is_what_the_notebooks_export(copy):
    subprocess.run([BIN / "nbdev_export"], cwd=copy, check=True)
    for path in sorted(PACKAGE.glob("*.py")):
        assert path.read_text() == (copy / "benchmark_profiling" / path.name).read_text(), path.name


def test_notebooks_are_committed_executed_and_clean(copy):
    subprocess.run([BIN / "nbdev_clean"], cwd=copy, check=True)
    for path in NOTEBOOKS:
        assert path.read_text() == (copy / "nbs" / path.name).read_text(), f"{path.name}: run nbdev_clean"
        assert [cell for cell in code_cells(path) if cell["outputs"]], f"{path.name} is not executed"


def test_no_paths_of_one_machine_in_what_readers_see():
    for path in [*NOTEBOOKS, *ROOT.glob("*.md"), *ROOT.glob("results/**/*.json")]:
        assert not re.search(r"/(home|root|work|Users)/\w+", path.read_text()), path.name


def test_readme_is_the_home_page():
    readme = (ROOT / "README.md").read_text()
    for cell in cells(ROOT / "nbs" / "index.ipynb"):
        if cell["cell_type"] == "markdown":
            for line in source(cell).splitlines():
                if line.strip() and not line.startswith(("#", ">", "$")):
                    assert line.strip() in readme, line


def test_the_wheel_holds_data_and_licence(copy, tmp_path):
    command = [sys.executable, "-m", "build", "--wheel", "--outdir", tmp_path, copy]
    subprocess.run(command, check=True, capture_output=True)
    names = zipfile.ZipFile(next(tmp_path.glob("*.whl"))).namelist()
    for part in ("facts/world.json", "py.typed", "LICENSE", "entry_points.txt", "benchmark_profiling/run.py"):
        assert any(name.endswith(part) for name in names), part


# ---- imports run downwards


def imports(path: Path) -> dict:
    "Module of the package -> names taken from it, wherever in the file."
    found = collections.defaultdict(set)
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.ImportFrom):
            continue
        module = node.module or ""
        if node.level == 1 and module:
            found[module] |= {alias.name for alias in node.names}
        elif module.startswith("benchmark_profiling."):
            found[module.removeprefix("benchmark_profiling.")] |= {alias.name for alias in node.names}
        elif module == "benchmark_profiling" or (node.level == 1 and not module):
            for alias in node.names:
                found[alias.name] |= set()
    return found


def below(module: str, graph: dict, seen: set) -> set:
    for other in graph.get(module, ()):
        if other not in seen:
            seen.add(other)
            below(other, graph, seen)
    return seen


def test_no_module_imports_itself_through_others():
    graph = {path.stem: imports(path) for path in MODULES}
    assert [module for module in graph if module in below(module, graph, set())] == []


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_what_another_module_needs_has_no_leading_underscore(path):
    for module, names in imports(path).items():
        assert not [name for name in names if name.startswith("_")], module


def test_each_floor_stands_on_lower_ones():
    graph = {path.stem: imports(path) for path in MODULES}
    reach = {module: below(module, graph, set()) for module in graph}
    for ground in ("states", "store", "models", "sandbox"):
        assert not reach[ground] & {"run", "cli", "evaluation", "importance", "ablation", "ais"}, ground
    assert not reach["ais"] & {"models", "tasks", "evaluation", "run", "report", "cli"}
    assert not reach["run"] & {"cluster", "cli"}
    assert [module for module in graph if "cli" in reach[module]] == []


def test_typer_is_only_in_the_command_line():
    users = [path.stem for path in MODULES if re.search(r"^\s*(import|from) typer\b", path.read_text(), re.M)]
    assert users == ["cli"]


# ---- shown at once


def shown_at_once(path: Path) -> tuple:
    "Exported cells that define something; those shown at once; the longest row of unseen ones."
    visible = [cell for cell in code_cells(path) if is_export(cell) or "#| hide" not in source(cell)]
    count = shown = row = longest = 0
    for place, cell in enumerate(visible):
        if not is_export(cell):
            row = 0
        elif defines(cell):
            count, row = count + 1, row + 1
            longest = max(longest, row)
            shown += place + 1 < len(visible) and not is_export(visible[place + 1])
    return count, shown, longest


NOT_SHOWN = ("40_templates", "26_cli")  # data, and commands that 30_use_it shows


@pytest.mark.parametrize(
    "path", [p for p in NOTEBOOKS if p.stem not in NOT_SHOWN], ids=lambda path: path.stem
)
def test_what_is_exported_is_shown_at_once(path):
    count, shown, longest = shown_at_once(path)
    assert longest <= 4
    assert count <= 3 or shown >= 0.7 * count, f"{shown} of {count}"


# ---- how a cell reads


def comprehensions(tree) -> list:
    kinds = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
    return [node for node in ast.walk(tree) if isinstance(node, kinds)]


def conditionals(tree) -> list:
    return [node for node in ast.walk(tree) if isinstance(node, ast.IfExp)]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_an_exported_cell_is_one_idea(path):
    for cell in exported(path):
        tree, text = parsed(cell), source(cell)
        assert not [line for line in text.splitlines() if len(line) > LONGEST_LINE], text[:200]
        tokens = tokenize.generate_tokens(io.StringIO(text).readline)
        assert not [token for token in tokens if token.type == tokenize.OP and token.string == ";"], text[
            :200
        ]
        assert not [one for one in conditionals(tree) if len(conditionals(one)) > 1], text[:200]
        assert not [one for one in comprehensions(tree) if len(one.generators) > 1], text[:200]
        if path.stem != "40_templates" and not any(isinstance(s, ast.ClassDef) for s in tree.body):
            statements = sum(isinstance(node, ast.stmt) for node in ast.walk(tree))
            assert statements <= LARGEST_CELL, f"{statements} statements: {text[:200]}"


@pytest.mark.parametrize(
    "path", [p for p in NOTEBOOKS if p.stem != "40_templates"], ids=lambda path: path.stem
)
def test_no_room_is_too_large(path):
    lines = [line for cell in exported(path) for line in source(cell).splitlines() if line.strip()]
    assert len(lines) <= LONGEST_ROOM


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_imports_have_cells_of_their_own(path):
    "The site's builder executes cells with imports, and nothing else."
    for cell in code_cells(path):
        if source(cell).startswith(("%%", "#| hide")):
            continue
        kinds = {isinstance(statement, (ast.Import, ast.ImportFrom)) for statement in parsed(cell).body}
        assert len(kinds) < 2, source(cell)[:200]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_first_cell_is_title_and_subtitle(path):
    "The site makes its page header of it, and drops what else stands there."
    first = source(cells(path)[0]).strip().splitlines()
    assert first[0].startswith("# "), first
    assert all(line.startswith(">") for line in first[1:] if line.strip()), first


# ---- what a reader sees


def texts(cell) -> list:
    "The plain text of a cell's outputs."
    found = []
    for output in cell["outputs"]:
        found.append("".join(output.get("text", [])))
        found.append("".join(output.get("data", {}).get("text/plain", [])))
    return found


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_outputs_are_clean(path):
    for cell in code_cells(path):
        assert not [output for output in cell["outputs"] if output["output_type"] == "error"], source(cell)[
            :200
        ]
        for text in texts(cell):
            assert not re.search(r"\d+%\|", text), f"a dead progress bar: {text[:200]}"
            assert not re.search(r"\d\.\d{14}", text), f"an unrounded number: {text[:200]}"
            assert not re.search(r"^.*Warning: ", text, re.M), f"a warning: {text[:200]}"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_no_sentence_ends_in_a_colon_with_nothing_after_it(path):
    for cell, after in zip(cells(path), [*cells(path)[1:], None]):
        if cell["cell_type"] == "markdown" and source(cell).rstrip().endswith(":"):
            assert after is not None and after["cell_type"] == "code" and not is_export(after), source(cell)[
                -200:
            ]


# ---- a stricter linter, whose findings only become fewer

STRICTER = "B,SIM,FBT,PLR0913,E501,E701,E702,E731"


def findings(paths) -> collections.Counter:
    command = [
        BIN / "ruff",
        "check",
        "--isolated",
        "--select",
        STRICTER,
        "--line-length",
        str(LONGEST_LINE),
        "--output-format",
        "json",
        "--exit-zero",
        *paths,
    ]
    found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return collections.Counter(one["code"] for one in found)


AT_MOST = dict(  # code -> how many of them the package has
    B008=2,
    B018=4,
    B023=3,
    B028=4,
    B905=70,
    E501=77,
    E701=980,
    FBT001=29,
    FBT002=45,
    FBT003=12,
    PLR0913=50,
    SIM105=2,
    SIM115=1,
    SIM117=1,
    SIM118=1,
    SIM905=2,
)


def test_the_stricter_linter_finds_fewer_and_fewer():
    found = findings(MODULES)
    assert {code: n for code, n in found.items() if n > AT_MOST.get(code, 0)} == {}
    assert {code: n for code, n in AT_MOST.items() if n > found[code]} == {}, "fewer now: lower the counts"


def test_nothing_is_suppressed_for_a_whole_file():
    for path in [*MODULES, *SCRIPTS]:
        assert not re.search(r"^#\s*(ruff|flake8)\s*:\s*noqa", path.read_text(), re.M), path.name


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_scripts_keep_to_the_same_form(path):
    text = path.read_text()
    assert not [line for line in text.splitlines() if len(line) > LONGEST_LINE]
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    assert not [token for token in tokens if token.type == tokenize.OP and token.string == ";"]
