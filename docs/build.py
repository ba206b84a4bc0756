"""Build the site into _docs: with Quarto where it is installed, else with smalldocs. The pages are the same.

Notebooks are staged by nbdev into _proc; the sidebar, the API reference, the citation and the changes are written there.
"""
import ast, html, importlib, inspect, os, re, shutil, subprocess, sys
from pathlib import Path

import yaml
from fastcore.docments import docments
from latex2mathml.converter import convert
from nbdev.config import get_config
from nbdev.quarto import refresh_quarto_yml
from nbdev.serve import proc_nbs

ROOT = Path(__file__).resolve().parent.parent
NBS, STAGE, SITE = ROOT / "nbs", ROOT / "_proc", ROOT / "_docs"
CFG = get_config()
HOST = f"{CFG.doc_host}{CFG.doc_baseurl}/"
BLOB = f"{CFG.git_url}/blob/{CFG.branch}/"


# ---- the sidebar: sections by the number that a notebook's name begins with

def sidebar(modules: list) -> dict:
    "Home, how to use it, the story, the plumbing, the reference."
    def some(digits): return [p.name for p in sorted(NBS.glob("[0-9]*.ipynb")) if p.name[0] in digits]
    def section(title, contents, **more): return {"section": title, "contents": contents, **more}
    api = section("API", [f"api_{m}.qmd" for m in modules], href="api.qmd")
    return {"website": {"sidebar": {"contents": [
        {"text": "Home", "href": "index.ipynb"}, section("Guides", some("3")), section("The story", some("0")), section("Plumbing", some("12")), section("Questions", some("4")), section("Checks of the method", some("5")), section("Workshop", some("6")),
        section("Reference", [api, "glossary.qmd", "citation.qmd", "changes.qmd"])]}}}


# ---- the API reference

def one_line(text) -> str: return " ".join(str(text or "").split())
def cell(text) -> str: return one_line(text).replace("|", "\\|")
def code(text) -> str: return f"`{one_line(text)}`" if one_line(text) else ""

def annotation(a) -> str:
    if a is inspect.Parameter.empty or a is None: return ""
    if hasattr(a, "__metadata__"): a = a.__origin__     # Annotated[type, help]
    text = a if isinstance(a, str) else inspect.formatannotation(a)
    return re.sub(r"\b(?:\w+\.)+(?=[A-Z])", "", text)

def remark(a, said) -> str: return said or next((m.help for m in getattr(a, "__metadata__", ()) if getattr(m, "help", None)), "") or ""

def default(value) -> str:
    if value is inspect.Parameter.empty: return ""
    text = getattr(value, "__name__", None) or repr(value)
    return text if len(text) < 40 and "0x" not in text else "…"

def parameters(obj) -> str:
    "A table of the parameters and of what comes back, from the remarks beside them in the source."
    if hasattr(obj, "_fields"):
        said = dict(re.findall(r"^\s+(\w+):[^#\n]*#\s*(.*)$", inspect.getsource(obj), re.M))
        return table([(code(n), code(annotation(a)), "", said.get(n, "")) for n, a in obj.__annotations__.items()])
    try: docs = docments(obj, full=True)
    except Exception: return ""
    rows = [(code(n), code(annotation(d.anno)), code(default(d.default)), remark(d.anno, d.docment)) for n, d in docs.items() if n not in ("self", "cls", "return")]
    back = docs.get("return")
    if back is not None and (annotation(back.anno) or back.docment): rows.append(("*returns*", code(annotation(back.anno)), "", back.docment or ""))
    return table(rows)

def table(rows, heads=("name", "type", "default", "meaning")) -> str:
    "A Markdown table without its empty columns."
    keep = [i for i in range(len(heads)) if any(r[i] for r in rows)]
    line = lambda r: "| " + " | ".join(cell(r[i]) for i in keep) + " |"
    return "\n".join([line(heads), "|" + ":--|" * len(keep), *map(line, rows), ""]) if rows else ""

def signature(name, obj) -> str:
    "`name(a, b=1)`, one line if it fits."
    try: sig = inspect.signature(obj)
    except (TypeError, ValueError): return name
    parts = []
    for p in sig.parameters.values():
        if p.name in ("self", "cls"): continue
        star = {p.VAR_POSITIONAL: "*", p.VAR_KEYWORD: "**"}.get(p.kind, "")
        parts.append(star + p.name + ("" if p.default is p.empty else f"={default(p.default)}"))
    flat = f"{name}({', '.join(parts)})"
    return flat if len(flat) < 90 else f"{name}(\n    " + ",\n    ".join(parts) + ",\n)"

def methods(cls) -> list: return [(n, f) for n, f in vars(cls).items() if not n.startswith("_") and inspect.isfunction(f) and f.__doc__]

def notebook(module) -> str: return next(NBS.glob(f"[0-9]*_{module}.ipynb")).name

def is_ours(obj) -> bool: return (inspect.isclass(obj) or callable(obj)) and str(getattr(obj, "__module__", "")).startswith(CFG.lib_path.name) and hasattr(obj, "__name__")

def source(tree, short, name) -> str:
    "Link to the line that defines a name."
    def names(n): return [getattr(n, "name", None), *(getattr(t, "id", None) for t in getattr(n, "targets", [getattr(n, "target", None)]))]
    line = next((n.lineno for n in tree.body if name in names(n)), 1)
    return f"[source]({BLOB}{CFG.lib_path.name}/{short}.py#L{line})"

def entry(obj, name, short, link) -> str:
    "One function or class: links, signature, docstring, parameters, methods."
    out = [f"## {name} {{#{short}-{name.lower()}}}", "", f"::: {{.api-links}}\n{link} · [in the notebook]({notebook(short)}#{name.lower()})\n:::", "",
           "```python", signature(name, obj), "```", "", one_line(inspect.getdoc(obj)), "", parameters(obj)]
    if inspect.isclass(obj):
        for n, f in methods(obj): out += [f"`{signature('.' + n, f)}` — {one_line(f.__doc__)}", "", parameters(f)]
    return "\n".join(out)

def constant(obj) -> str:
    text = one_line(repr(obj))
    return code(text if len(text) < 120 else text[:120] + " …") if "0x" not in text else f"a `{type(obj).__name__}`"

def api(modules: list):
    "A page for each module, and one that lists all names."
    index = ["---", "title: API reference", "description: Every public name, with what it takes and gives", "---", "",
             "Import from the module: `from benchmark_profiling.ais import profile`. Shapes and units stand beside each parameter.", ""]
    for m in modules:
        module = importlib.import_module(f"{CFG.lib_path.name}.{m}")
        tree, first = ast.parse(Path(module.__file__).read_text()), one_line(module.__doc__)
        ours = {n: getattr(module, n) for n in module.__all__ if is_ours(getattr(module, n))}
        rest = {n: getattr(module, n) for n in module.__all__ if n not in ours}
        text = ["---", f"title: {m}", f"description: {first!r}", "---", "", f"`from {module.__name__} import …` · [the notebook]({notebook(m)}) shows it at work", ""]
        text += [entry(obj, n, m, source(tree, m, n)) for n, obj in ours.items()]
        if rest: text += ["## Constants and types", "", "| name | value | |", "|:--|:--|:--|",
                          *(f"| {code(n)} | {cell(constant(obj))} | {source(tree, m, n)} |" for n, obj in rest.items())]
        (STAGE / f"api_{m}.qmd").write_text("\n".join(text))
        index += [f"## [{m}](api_{m}.qmd)", "", first, "", "| name | what it is |", "|:--|:--|"]
        index += [f"| [`{n}`](api_{m}.qmd#{m}-{n.lower()}) | {cell(inspect.getdoc(obj))} |" for n, obj in ours.items()]
        index.append("")
    (STAGE / "api.qmd").write_text("\n".join(index))


# ---- pages from other files

def citation():
    "How to cite, from CITATION.cff."
    c = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    paper = c["references"][0]
    number = re.search(r"\d{4}\.\d{4,5}", paper["notes"]).group()
    people = " and ".join(f"{a['family-names']}, {a['given-names']}" for a in paper["authors"])
    names = ", ".join(f"{a['given-names']} {a['family-names']}" for a in paper["authors"])
    (STAGE / "citation.qmd").write_text(f"""---
title: Citation
description: How to cite the method and this software
---

{c['message']}

## The paper

{names} ({paper['year']}). *{paper['title']}*. arXiv [{number}](https://arxiv.org/abs/{number}).

```bibtex
@article{{benchmarkprofiling{paper['year']},
  title   = {{{paper['title']}}},
  author  = {{{people}}},
  journal = {{arXiv preprint arXiv:{number}}},
  year    = {{{paper['year']}}}
}}
```

## This software

{c['authors'][0]['name']}. *{c['title']}*, version {c['version']}. {c['license']}. [{CFG.git_url}]({CFG.git_url})

```bibtex
@software{{benchmark_profiling_software,
  title   = {{{c['title']}}},
  author  = {{{{{c['authors'][0]['name']}}}}},
  version = {{{c['version']}}},
  url     = {{{CFG.git_url}}}
}}
```
""")

def changes():
    "CHANGELOG.md as a page."
    text = (ROOT / "CHANGELOG.md").read_text().removeprefix("# Changelog\n")
    (STAGE / "changes.qmd").write_text(f"---\ntitle: Changes\n---\n{text}")


# ---- what smalldocs leaves to do: names of pages, formulas

def mathml(text: str) -> str:
    "Formulas as MathML, and no script from another host."
    def formula(m): return convert(html.unescape(m[2]).strip()[2:-2], display="block" if m[1] == "display" else "inline")
    text = re.sub(r'<span class="math (inline|display)">(.*?)</span>', formula, text, flags=re.S)
    return re.sub(r'<link[^>]*katex[^>]*>|<script[^>]*katex[^>]*></script>', "", text)

def finish():
    "Give pages the names that nbdev's links use, and links that work wherever the site lies."
    out = STAGE / "_docs"
    names = {p.with_suffix(".html").name: re.sub(r"^\d+_", "", p.stem) + ".html" for p in STAGE.glob("[0-9]*.ipynb")}
    old = re.compile("|".join(map(re.escape, names))) if names else None
    for page in [*out.glob("*.html"), out / "search.json", out / "sitemap.xml"]:
        text = page.read_text()
        text = old.sub(lambda m: names[m[0]], text)
        if page.suffix == ".html": text = mathml(text)
        page.unlink(); (out / names.get(page.name, page.name)).write_text(text)

def linked(text: str) -> str:
    "A notebook's name in backticks leads to its page."
    pages = {p.stem: re.sub(r"^\d+_", "", p.stem) + ".html" for p in NBS.glob("[0-9]*.ipynb")}
    return re.sub(r"<code>(\d\d_\w+)</code>(?!</a>)", lambda m: f'<a href="{pages[m[1]]}">{m[0]}</a>' if m[1] in pages else m[0], text)

def named(text: str) -> str:
    "Pictures without a text get that of the heading above them."
    above = "picture"
    def one(m):
        nonlocal above
        if m[1] is None: return f'<img alt="{html.escape(above)}"{m[2]}>'
        above = html.unescape(re.sub("<[^>]*>", "", m[1])).strip()
        return m[0]
    return re.sub(r'<h[1-4]\b[^>]*>(.*?)</h[1-4]>|<img\b(?![^>]*\balt=)([^>]*)>', one, text, flags=re.S)

def at_home():
    "Links to our own pages work wherever the site lies, pictures have a text, and no style sheet asks another host for a font."
    texts = {p: re.sub(rf'(<a [^>]*href="){re.escape(HOST)}(?=\w)', r"\1", p.read_text()) for p in (STAGE / "_docs").glob("*.html")}
    anchors = {f"{p.name}#{i}" for p, text in texts.items() for i in re.findall(r'\bid="([^"]+)"', text)}
    def known(m): return m[0] if f"{m[1]}#{m[2]}" in anchors or m[1] not in {p.name for p in texts} else f'href="{m[1]}"'   # private names have no anchor
    for page, text in texts.items(): page.write_text(named(linked(re.sub(r'href="([\w.]+)#([^"]+)"', known, text))))
    for css in (STAGE / "_docs").rglob("*.css"): css.write_text(re.sub(r"@import\s*url\([\"']?https?:[^)]*\)[^;]*;", "", css.read_text()))


def main():
    os.chdir(ROOT)
    modules = [p.stem.partition("_")[2] for p in sorted(NBS.glob("[0-9]*.ipynb"))]
    modules = [m for m in modules if (ROOT / CFG.lib_path.name / f"{m}.py").exists()]
    refresh_quarto_yml()
    (NBS / "sidebar.yml").write_text(yaml.safe_dump(sidebar(modules), sort_keys=False))
    for p in STAGE.glob("*.ipynb"):
        if not (NBS / p.name).exists(): p.unlink()
    proc_nbs()
    api(modules); citation(); changes()
    if shutil.which("quarto"): subprocess.run(["quarto", "render", "--no-cache"], cwd=STAGE, check=True)
    else:
        from smalldocs.site import build
        site = build(STAGE, quiet=True)
        for w in site.warnings:
            if not re.search(r"output-file|is ignored|unknown key lang", w): print("warning:", w, file=sys.stderr)
        finish()
    at_home()
    shutil.rmtree(SITE, ignore_errors=True); shutil.move(STAGE / "_docs", SITE)
    print(f"{len(list(SITE.glob('*.html')))} pages in {SITE.name}/")

if __name__ == "__main__": main()
