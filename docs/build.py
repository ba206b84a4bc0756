"""Build the site into _docs: with Quarto where it is installed, else with smalldocs. The pages are the same.

What a site is stands in `_quarto.yml`. nbdev stages the notebooks into _proc; the API reference, the citation
and the changes are written there.
"""

import html
import os
import re
import shutil
import subprocess
import sys

import yaml
from api import CFG, ROOT, write_api
from latex2mathml.converter import convert
from nbdev.quarto import refresh_quarto_yml
from nbdev.serve import proc_nbs

NBS, STAGE, SITE = ROOT / "nbs", ROOT / "_proc", ROOT / "_docs"
BUILT = STAGE / "_docs"
HOST = f"{CFG.doc_host}{CFG.doc_baseurl}/"


# ---- pages from other files

CITATION = """---
title: Citation
description: How to cite the method and this software
---

{message}

## The paper

{names} ({year}). *{title}*. {where}

```bibtex
@{kind}{{benchmarkprofiling{year},
  title   = {{{title}}},
  author  = {{{people}}},
  {place}
  year    = {{{year}}}
}}
```

## This software

{maker}. *{software}*, version {version}. {licence}. [{url}]({url})

```bibtex
@software{{benchmark_profiling_software,
  title   = {{{software}}},
  author  = {{{{{maker}}}}},
  version = {{{version}}},
  url     = {{{url}}}
}}
```
"""


def citation() -> str:
    "How to cite, from CITATION.cff."
    facts = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    paper = facts["references"][0]
    doi, number = paper["doi"], re.search(r"\d{4}\.\d{4,5}", paper["notes"]).group()
    where = f"[doi {doi}](https://doi.org/{doi}), arXiv [{number}](https://arxiv.org/abs/{number})."
    return CITATION.format(
        message=facts["message"],
        year=paper["year"],
        title=paper["title"],
        where=where,
        kind="inproceedings",
        names=", ".join(f"{a['given-names']} {a['family-names']}" for a in paper["authors"]),
        people=" and ".join(f"{a['family-names']}, {a['given-names']}" for a in paper["authors"]),
        place=f"booktitle = {{{paper['conference']['name']}}},\n  doi     = {{{doi}}},",
        maker=facts["authors"][0]["name"],
        software=facts["title"],
        version=facts["version"],
        licence=facts["license"],
        url=CFG.git_url,
    )


def changes() -> str:
    "CHANGELOG.md as a page."
    return "---\ntitle: Changes\n---\n" + (ROOT / "CHANGELOG.md").read_text().removeprefix("# Changelog\n")


# ---- what smalldocs leaves to do: names of pages, formulas


def page_names() -> dict:
    "A notebook's page as smalldocs calls it -> as nbdev's links call it."
    pages = sorted(STAGE.glob("[0-9]*.ipynb"))
    return {path.with_suffix(".html").name: re.sub(r"^\d+_", "", path.stem) + ".html" for path in pages}


def with_mathml(text: str) -> str:
    "Formulas as MathML, and no script from another host."

    def formula(match):
        return convert(
            html.unescape(match[2]).strip()[2:-2], display="block" if match[1] == "display" else "inline"
        )

    text = re.sub(r'<span class="math (inline|display)">(.*?)</span>', formula, text, flags=re.S)
    return re.sub(r"<link[^>]*katex[^>]*>|<script[^>]*katex[^>]*></script>", "", text)


def finish_smalldocs():
    "Give pages the names that nbdev's links use."
    names = page_names()
    old = re.compile("|".join(map(re.escape, names)))
    for page in [*BUILT.glob("*.html"), BUILT / "search.json", BUILT / "sitemap.xml"]:
        text = old.sub(lambda match: names[match[0]], page.read_text())
        if page.suffix == ".html":
            text = with_mathml(text)
        page.unlink()
        (BUILT / names.get(page.name, page.name)).write_text(text)


# ---- what both leave to do: links that work wherever the site lies, texts of pictures, no other host


def with_notebook_links(text: str) -> str:
    "A notebook's name in backticks leads to its page."
    pages = {path.stem: re.sub(r"^\d+_", "", path.stem) + ".html" for path in NBS.glob("[0-9]*.ipynb")}

    def link(match):
        return f'<a href="{pages[match[1]]}">{match[0]}</a>' if match[1] in pages else match[0]

    return re.sub(r"<code>(\d\d_\w+)</code>(?!</a>)", link, text)


def with_picture_texts(text: str) -> str:
    "Pictures without a text get that of the heading above them."
    above = "picture"

    def look(match):
        nonlocal above
        if match[1] is None:
            return f'<img alt="{html.escape(above)}"{match[2]}>'
        above = html.unescape(re.sub("<[^>]*>", "", match[1])).strip()
        return match[0]

    return re.sub(r"<h[1-4]\b[^>]*>(.*?)</h[1-4]>|<img\b(?![^>]*\balt=)([^>]*)>", look, text, flags=re.S)


def finish_pages():
    "Our own pages are linked by name alone; an anchor that a page does not have is dropped."
    absolute = re.compile(rf'(<a [^>]*href="){re.escape(HOST)}(?=\w)')
    texts = {page: absolute.sub(r"\1", page.read_text()) for page in BUILT.glob("*.html")}
    names = {page.name for page in texts}
    anchors = set()
    for page, text in texts.items():
        anchors.update(f"{page.name}#{found}" for found in re.findall(r'\bid="([^"]+)"', text))

    def known(match):
        there = f"{match[1]}#{match[2]}" in anchors or match[1] not in names
        return match[0] if there else f'href="{match[1]}"'

    for page, text in texts.items():
        text = re.sub(r'href="([\w.]+)#([^"]+)"', known, text)
        page.write_text(with_picture_texts(with_notebook_links(text)))


FOREIGN_IMPORT = re.compile(r"""@import\s*(url\(["']?https?:[^)]*\)|"https?:[^"]*"|'https?:[^']*')[^;]*;""")


def drop_foreign_fonts():
    "No style sheet asks another host; an address may hold semicolons itself."
    for sheet in BUILT.rglob("*.css"):
        sheet.write_text(FOREIGN_IMPORT.sub("", sheet.read_text()))


# ---- all of it


def stage():
    "Notebooks and the other pages, ready to render."
    refresh_quarto_yml()
    for path in STAGE.glob("*.ipynb"):
        if not (NBS / path.name).exists():
            path.unlink()
    proc_nbs()
    modules = [path.stem.partition("_")[2] for path in sorted(NBS.glob("[0-9]*.ipynb"))]
    write_api(STAGE, [name for name in modules if (ROOT / CFG.lib_path.name / f"{name}.py").exists()])
    (STAGE / "citation.qmd").write_text(citation())
    (STAGE / "changes.qmd").write_text(changes())


def render():
    if shutil.which("quarto"):
        subprocess.run(["quarto", "render", "--no-cache"], cwd=STAGE, check=True)
        return
    from smalldocs.site import build

    for warning in build(STAGE, quiet=True).warnings:
        if not re.search(r"output-file|is ignored|unknown key lang", warning):
            print("warning:", warning, file=sys.stderr)
    finish_smalldocs()


if __name__ == "__main__":
    os.chdir(ROOT)
    stage()
    render()
    finish_pages()
    drop_foreign_fonts()
    shutil.rmtree(SITE, ignore_errors=True)
    shutil.move(BUILT, SITE)
    print(f"{len(list(SITE.glob('*.html')))} pages in {SITE.name}/")
