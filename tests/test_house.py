"The repository is what its notebooks say."
import ast, json, re, shutil, subprocess, sys, zipfile
from pathlib import Path
import pytest

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "nbs").glob("*.ipynb"))
BIN = Path(sys.executable).parent

@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("house") / "copy"
    shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(".venv", "runs", ".git", "_docs", "_proc", "build", "*.egg-info", "results"))
    return folder

def test_the_package_is_what_the_notebooks_export(copy):
    subprocess.run([BIN / "nbdev_export"], cwd=copy, check=True)
    for f in sorted((ROOT / "benchmark_profiling").glob("*.py")): assert f.read_text() == (copy / "benchmark_profiling" / f.name).read_text(), f.name

def test_notebooks_are_committed_executed_and_clean(copy):
    subprocess.run([BIN / "nbdev_clean"], cwd=copy, check=True)
    for f in NOTEBOOKS:
        assert f.read_text() == (copy / "nbs" / f.name).read_text(), f"{f.name}: run nbdev_clean"
        cells = [c for c in json.loads(f.read_text())["cells"] if c["cell_type"] == "code"]
        assert not [o for c in cells for o in c["outputs"] if o["output_type"] == "error"], f.name
        assert [c for c in cells if c["outputs"]], f"{f.name} is not executed"

def test_no_paths_of_one_machine_in_what_readers_see():
    for f in [*NOTEBOOKS, *ROOT.glob("*.md"), *ROOT.glob("results/**/*.json")]:
        assert not re.search(r"/(home|root|work|Users)/\w+", f.read_text()), f.name

def test_readme_is_the_home_page():
    index, readme = json.loads((ROOT / "nbs" / "index.ipynb").read_text()), (ROOT / "README.md").read_text()
    for c in index["cells"]:
        if c["cell_type"] == "markdown":
            for line in "".join(c["source"]).splitlines():
                if line.strip() and not line.startswith(("#", ">", "$")): assert line.strip() in readme, line

def test_the_wheel_holds_data_and_licence(copy, tmp_path):
    subprocess.run([sys.executable, "-m", "build", "--wheel", "--outdir", tmp_path, copy], check=True, capture_output=True)
    names = zipfile.ZipFile(next(tmp_path.glob("*.whl"))).namelist()
    for part in ("benchmark_profiling/facts/world.json", "benchmark_profiling/py.typed", "LICENSE", "entry_points.txt", "benchmark_profiling/run.py"):
        assert any(n.endswith(part) for n in names), part

@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_imports_have_cells_of_their_own(path):
    "The site's builder executes cells with imports, and nothing else."
    for c in json.loads(path.read_text())["cells"]:
        source = "".join(c["source"])
        if c["cell_type"] != "code" or source.startswith(("%%", "#| hide")): continue
        kinds = {isinstance(s, (ast.Import, ast.ImportFrom)) for s in ast.parse(re.sub(r"^[%!].*$", "", source, flags=re.M)).body}
        assert len(kinds) < 2, source[:200]

@pytest.mark.parametrize("path", sorted((ROOT / "nbs").glob("*.ipynb")), ids=lambda p: p.stem)
def test_the_first_cell_is_title_and_subtitle(path):
    "The site makes its page header of it, and drops what else stands there."
    first = "".join(json.loads(path.read_text())["cells"][0]["source"]).strip().splitlines()
    assert first[0].startswith("# ") and all(line.startswith(">") for line in first[1:] if line.strip()), "\n".join(first)
