"The site and the report, in a real browser: Debian's Chromium, driven by Playwright."

import functools, http.server, os, re, shutil, subprocess, sys, threading
from pathlib import Path
from urllib.parse import unquote, urldefrag, urljoin, urlparse

import pytest

ROOT = Path(__file__).parent.parent
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(
    not CHROMIUM and not os.environ.get("CI"),
    reason="no Chromium here (Debian: apt-get install chromium); CI installs it",
)
WIDTHS = {1280: 900, 390: 844}

LOOK = """() => ({
    ids: [...document.querySelectorAll('[id]')].map(e => e.id),
    links: [...document.querySelectorAll('a[href]')].map(a => a.getAttribute('href')),
    blank: [...document.images].filter(i => !(i.complete && i.naturalWidth > 1 && i.naturalHeight > 1))
        .map(i => i.src.slice(0, 60)),
    nameless: [...document.images].filter(i => !i.alt).length,
    headings: [...document.querySelectorAll('h1')].map(h => h.innerText),
    tex: /\\\\(frac|mathrm|theta|Theta|bar)\\b|\\$\\$/
        .test(document.querySelector('main').innerText.replace(/ /g, '')),
    formulas: document.querySelectorAll('math').length,
    width: document.documentElement.scrollWidth,
    wide: [...document.querySelectorAll('main img, main svg')]
        .filter(i => i.getBoundingClientRect().right > innerWidth + 1).length,
})"""


@pytest.fixture(scope="module")
def site():
    subprocess.run([sys.executable, ROOT / "docs" / "build.py"], check=True, cwd=ROOT)
    return ROOT / "_docs"


@pytest.fixture(scope="module")
def address(site):
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as p:
        b = p.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield b
        b.close()


def watched(browser, width=1280, **settings):
    "A page that notes what goes wrong in it."
    page = browser.new_page(viewport=dict(width=width, height=WIDTHS[width]), **settings)
    page.notes = []
    page.on("console", lambda m: m.type == "error" and page.notes.append(f"console: {m.text}"))
    page.on("pageerror", lambda e: page.notes.append(f"script: {e}"))
    page.on("requestfailed", lambda r: page.notes.append(f"failed: {r.url}"))
    page.on("response", lambda r: r.status >= 400 and page.notes.append(f"{r.status}: {r.url}"))
    page.on(
        "request",
        lambda r: (
            urlparse(r.url).hostname not in ("127.0.0.1", None)
            and page.notes.append(f"another host: {r.url}")
        ),
    )
    return page


@pytest.fixture(scope="module")
def visits(site, address, browser):
    "Every page at both widths: what it holds, and a screenshot of its beginning."
    shots, found = ROOT / "screenshots", {}
    shutil.rmtree(shots, ignore_errors=True)
    shots.mkdir()
    for width in WIDTHS:
        page = watched(browser, width)
        for path in sorted(site.glob("*.html")):
            page.notes.clear()
            page.goto(address + path.name)
            seen = found[path.name, width] = page.evaluate(LOOK) | {"notes": list(page.notes)}
            page.screenshot(
                path=shots / f"{path.stem}-{width}.jpg",
                type="jpeg",
                quality=70,
                full_page=True,
                clip=dict(
                    x=0,
                    y=0,
                    width=width,
                    height=min(page.evaluate("document.documentElement.scrollHeight"), 3000),
                ),
            )
            assert seen["headings"], path.name
        page.close()
    return found


def said(visits, what, width=None):
    return {f"{name} at {w}": v[what] for (name, w), v in visits.items() if v[what] and width in (None, w)}


def test_every_page_loads_without_errors_and_asks_no_other_host(visits):
    assert len(visits) > 60 and not said(visits, "notes")


def test_every_picture_has_pixels_and_a_text(visits):
    assert not said(visits, "blank") and not said(visits, "nameless")


def test_formulas_are_shown_without_scripts(visits):
    assert visits["ais.html", 1280]["formulas"] > 5 and not said(visits, "tex")


def test_nothing_scrolls_sideways(visits):
    assert {k: v["width"] for k, v in visits.items() if v["width"] > k[1]} == {} and not said(visits, "wide")


def test_every_link_and_anchor_resolves(visits, address):
    ids, broken = {name: set(v["ids"]) for (name, w), v in visits.items() if w == 1280}, []
    for name in ids:
        for href in visits[name, 1280]["links"]:
            target, anchor = urldefrag(urljoin(address + name, href))
            if not target.startswith(address):
                continue
            where = unquote(target.removeprefix(address)) or "index.html"
            if where not in ids or anchor and unquote(anchor) not in ids[where]:
                broken.append(f"{name}: {href}")
    assert not broken


READING_ORDER = """Guides use_it.html story datagen.html importance.html ablation.html ais.html findings.html
Models models.html Runs run.html Questions Checks Workshop Reference
api.html glossary.html citation.html""".split()


def test_story_and_plumbing_stand_apart_in_reading_order(site):
    text = (site / "index.html").read_text()
    start = text.index('id="quarto-sidebar"')
    sidebar = text[start : text.index("</nav>", start)]
    order = [sidebar.index(part) for part in READING_ORDER]
    assert order == sorted(order)
    for path in (ROOT / "nbs").glob("[0-9]*.ipynb"):
        page = re.sub(r"^\d+_", "", path.stem) + ".html"
        assert page in sidebar, f"{path.name} is not in the sidebar of _quarto.yml"


def test_the_reference_has_every_public_name(site):
    for path in (ROOT / "benchmark_profiling").glob("[a-z]*.py"):
        names = re.search(r"^__all__ = (\[.*?\])", path.read_text(), re.M | re.S)
        page = (site / f"api_{path.stem}.html").read_text() if names else ""
        for n in names and eval(names[1]) or []:
            anchors = [f'id="{path.stem}-{kind}{n.lower()}"' for kind in ("", "class-")]
            assert any(a in page for a in anchors) or f"<code>{n}</code>" in page, f"{path.stem}.{n}"


def test_four_findings_each_with_figure_and_verdict(address, browser):
    page = watched(browser)
    page.goto(address + "findings.html")
    found = page.evaluate("""() => [...document.querySelectorAll('main h2, main h3')]
        .filter(h => /^Finding \\(i+v?\\)/.test(h.innerText)).map(h => {
        const s = h.closest('section');
        return [h.innerText.match(/\\((\\w+)\\)/)[1], s.querySelectorAll('img, svg').length,
                [...s.querySelectorAll('p strong')].filter(b => /^Verdict/.test(b.innerText)).length]})""")
    assert [f[0] for f in found] == ["i", "ii", "iii", "iv"] and all(
        pictures and verdict for _, pictures, verdict in found
    ), found


def test_search_finds_the_score(address, browser):
    page = watched(browser)
    page.goto(address)
    page.get_by_placeholder("Search").first.fill("Ability Impact Score")
    hits = page.locator(".smalldocs-search-results a")
    hits.first.wait_for()
    assert (
        any("ais.html" in h for h in hits.evaluate_all("all => all.map(a => a.getAttribute('href'))"))
        and not page.notes
    )


CONTRAST = """() => {
    const rgba = c => { const v = c.match(/[\\d.]+/g).map(Number); return v.length < 4 ? [...v, 1] : v };
    const over = (top, under) => [0, 1, 2].map(i => top[i] * top[3] + under[i] * (1 - top[3])).concat(1);
    const ground = e => e ? over(rgba(getComputedStyle(e).backgroundColor),
        ground(e.parentElement)) : [255, 255, 255, 1];
    const linear = v => (v /= 255) <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
    const lum = c => .2126 * linear(c[0]) + .7152 * linear(c[1]) + .0722 * linear(c[2]);
    const ratio = e => {
        const under = ground(e), text = over(rgba(getComputedStyle(e).color), under);
        const [a, b] = [lum(text), lum(under)].sort((x, y) => y - x);
        return (a + .05) / (b + .05) };
    const parts = {text: 'main p', link: 'main p a', code: 'main p code', block: 'pre code',
        comment: 'pre code .co, pre code .c1', head: 'h2', side: '.sidebar-item-text', table: 'main td'};
    return Object.fromEntries(Object.entries(parts).filter(([n, s]) => document.querySelector(s))
        .map(([n, s]) => [n, ratio(document.querySelector(s))]));
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read_in_light_and_dark(address, browser, scheme):
    page = watched(browser, color_scheme=scheme)
    for name in ("index", "ais", "api_ais"):
        page.goto(f"{address}{name}.html")
        ratios = page.evaluate(CONTRAST)
        assert len(ratios) >= 5 and not {k: round(v, 2) for k, v in ratios.items() if v < 4.5}, name
        page.screenshot(path=ROOT / "screenshots" / f"{name}-{scheme}.jpg", type="jpeg", quality=70)
    ground = "getComputedStyle(document.body).backgroundColor"
    before = page.evaluate(ground)
    page.locator(".quarto-color-scheme-toggle").first.click()
    after = page.evaluate(ground)
    page.reload()
    assert before != after == page.evaluate(ground) and not page.notes


def test_the_menu_opens_on_a_phone(address, browser):
    page = watched(browser, 390)
    page.goto(address)
    entry = page.locator("#quarto-sidebar a", has_text="Use it on your model")
    page.locator("#quarto-sidebar:not(.show)").wait_for(state="attached")
    page.locator(".quarto-btn-toggle").first.click()
    page.locator("#quarto-sidebar.show").wait_for()
    page.screenshot(path=ROOT / "screenshots" / "menu-390.jpg", type="jpeg", quality=70)
    entry.click()
    page.wait_for_url("**/use_it.html")
    assert not page.notes


def test_the_report_works_from_a_file_with_sorting(browser, tmp_path):
    from benchmark_profiling.run import remake

    shutil.copytree(ROOT / "results" / "quickstart", tmp_path / "run")
    remake(tmp_path / "run")
    page = watched(browser)
    page.goto((tmp_path / "run" / "report.html").as_uri())
    assert (
        page.evaluate("[...document.images].every(i => i.complete && i.naturalWidth > 1)")
        and page.locator("img, svg").count()
    )
    table = page.locator("table", has=page.locator("tr:first-child th", has_text="ais")).first
    header = table.locator("tr:first-child th").filter(has_text=re.compile("^ais$"))
    column = header.evaluate("th => th.cellIndex")

    def values():
        return [
            float(t.replace("−", "-"))
            for t in table.evaluate(f"t => [...t.rows].slice(1).map(r => r.cells[{column}].textContent)")
        ]

    before = values()
    header.locator("button").click()
    once = values()
    header.locator("button").click()
    twice = values()
    assert len(before) == 40 and once == sorted(before, reverse=True) and twice == sorted(before)
    page.screenshot(path=ROOT / "screenshots" / "report-1280.jpg", type="jpeg", quality=70, full_page=True)
    page.set_viewport_size(dict(width=390, height=844))
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.screenshot(path=ROOT / "screenshots" / "report-390.jpg", type="jpeg", quality=70, full_page=True)
    assert not page.notes
