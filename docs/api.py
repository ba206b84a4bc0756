"""The API reference, from docstrings and the remarks beside parameters."""

import ast
import importlib
import inspect
import json
import re
from pathlib import Path
from typing import NamedTuple

from fastcore.docments import docments
from nbdev.config import get_config

ROOT = Path(__file__).resolve().parent.parent
CFG = get_config()
BLOB = f"{CFG.git_url}/blob/{CFG.branch}/"
PACKAGE = CFG.lib_path.name


# ---- text for Markdown


def one_line(text) -> str:
    return " ".join(str(text or "").split())


def cell(text) -> str:
    return one_line(text).replace("|", "\\|")


def code(text) -> str:
    return f"`{one_line(text)}`" if one_line(text) else ""


def table(rows: list, heads=("name", "type", "default", "meaning")) -> str:
    "A Markdown table without its empty columns."
    if not rows:
        return ""
    keep = [i for i in range(len(heads)) if any(row[i] for row in rows)]
    lines = ["| " + " | ".join(cell(row[i]) for i in keep) + " |" for row in [heads, *rows]]
    return "\n".join([lines[0], "|" + ":--|" * len(keep), *lines[1:], ""])


# ---- what is known of a function or class


def annotation(found) -> str:
    "A type as text, without the modules' names."
    if found is inspect.Parameter.empty or found is None:
        return ""
    if hasattr(found, "__metadata__"):  # Annotated[type, help]
        found = found.__origin__
    text = found if isinstance(found, str) else inspect.formatannotation(found)
    return re.sub(r"\b(?:\w+\.)+(?=[A-Z])", "", text)


def default(value) -> str:
    "A default value as text; long ones as an ellipsis."
    if value is inspect.Parameter.empty:
        return ""
    text = getattr(value, "__name__", None) or repr(value)
    return text if len(text) < 40 and "0x" not in text else "…"


def fields(cls) -> list:
    "Rows for the fields of a NamedTuple, dataclass or pydantic model."
    if hasattr(cls, "model_fields"):
        return [
            (code(name), code(annotation(field.annotation)), code(default(field.default)), field.description)
            for name, field in cls.model_fields.items()
        ]
    remarks = dict(re.findall(r"^\s+(\w+):[^#\n]*#\s*(.*)$", inspect.getsource(cls), re.M))
    return [
        (code(name), code(annotation(kind)), "", remarks.get(name, ""))
        for name, kind in cls.__annotations__.items()
    ]


def parameters(obj) -> str:
    "A table of the parameters and of what comes back, from the remarks beside them in the source."
    if hasattr(obj, "_fields") or hasattr(obj, "model_fields"):
        return table(fields(obj))
    try:
        docs = docments(obj, full=True)
    except Exception:  # no source, as for some classes of libraries
        return ""
    rows = [
        (code(name), code(annotation(doc.anno)), code(default(doc.default)), doc.docment or "")
        for name, doc in docs.items()
        if name not in ("self", "cls", "return")
    ]
    back = docs.get("return")
    if back is not None and (annotation(back.anno) or back.docment):
        rows.append(("*returns*", code(annotation(back.anno)), "", back.docment or ""))
    return table(rows)


def signature(name: str, obj) -> str:
    "`name(a, b=1)`, one line if it fits."
    try:
        found = inspect.signature(obj)
    except (TypeError, ValueError):
        return name
    parts = []
    for p in found.parameters.values():
        if p.name in ("self", "cls"):
            continue
        star = {p.VAR_POSITIONAL: "*", p.VAR_KEYWORD: "**"}.get(p.kind, "")
        parts.append(star + p.name + ("" if p.default is p.empty else f"={default(p.default)}"))
    flat = f"{name}({', '.join(parts)})"
    return flat if len(flat) < 90 else f"{name}(\n    " + ",\n    ".join(parts) + ",\n)"


def methods(cls) -> list:
    return [
        (name, f)
        for name, f in vars(cls).items()
        if not name.startswith("_") and inspect.isfunction(f) and f.__doc__
    ]


# ---- pages


class Module(NamedTuple):
    name: str  # within the package
    notebook: str  # file that exports it
    tree: ast.Module  # its source
    ours: dict  # public name -> function or class
    constants: dict  # public name -> value


def is_ours(obj) -> bool:
    home = str(getattr(obj, "__module__", ""))
    return (inspect.isclass(obj) or callable(obj)) and home.startswith(PACKAGE) and hasattr(obj, "__name__")


def read_module(name: str) -> Module:
    module = importlib.import_module(f"{PACKAGE}.{name}")
    public = {n: getattr(module, n) for n in module.__all__}
    ours = {n: obj for n, obj in public.items() if is_ours(obj)}
    constants = {n: obj for n, obj in public.items() if n not in ours}
    notebook = next((ROOT / "nbs").glob(f"[0-9]*_{name}.ipynb")).name
    return Module(name, notebook, ast.parse(Path(module.__file__).read_text()), ours, constants)


def anchor(module: Module, name: str) -> str:
    "Of a name on its module's page; a class and a function may differ in case alone."
    kind = "class-" if inspect.isclass(module.ours[name]) else ""
    return f"{module.name}-{kind}{name.lower()}"


def names_of(statement) -> list:
    "What a statement defines."
    targets = getattr(statement, "targets", [getattr(statement, "target", None)])
    return [getattr(statement, "name", None), *(getattr(target, "id", None) for target in targets)]


def source_link(module: Module, name: str) -> str:
    "To the line that defines a name."
    line = next((statement.lineno for statement in module.tree.body if name in names_of(statement)), 1)
    return f"[source]({BLOB}{PACKAGE}/{module.name}.py#L{line})"


def entry(module: Module, name: str) -> str:
    "One function or class: links, signature, docstring, parameters, methods."
    obj = module.ours[name]
    links = f"{source_link(module, name)} · [in the notebook]({module.notebook}#{name.lower()})"
    out = [
        f"## {name} {{#{anchor(module, name)}}}",
        "",
        f"::: {{.api-links}}\n{links}\n:::",
        "",
        "```python",
        signature(name, obj),
        "```",
        "",
        one_line(inspect.getdoc(obj)),
        "",
        parameters(obj),
    ]
    if inspect.isclass(obj):
        for method, function in methods(obj):
            out += [
                f"`{signature('.' + method, function)}` — {one_line(function.__doc__)}",
                "",
                parameters(function),
            ]
    return "\n".join(out)


def constant(value) -> str:
    text = one_line(repr(value))
    if "0x" in text:
        return f"a `{type(value).__name__}`"
    return code(text if len(text) < 120 else text[:120] + " …")


def module_page(module: Module) -> str:
    doc = one_line(importlib.import_module(f"{PACKAGE}.{module.name}").__doc__)
    out = [
        "---",
        f"title: {module.name}",
        f"description: {json.dumps(doc)}",
        "---",
        "",
        f"`from {PACKAGE}.{module.name} import …` · [the notebook]({module.notebook}) shows it at work",
        "",
    ]
    out += [entry(module, name) for name in module.ours]
    if module.constants:
        rows = [
            (code(name), constant(value), source_link(module, name))
            for name, value in module.constants.items()
        ]
        out += ["## Constants and types", "", table(rows, ("name", "value", " "))]
    return "\n".join(out)


def index_section(module: Module) -> str:
    doc = one_line(importlib.import_module(f"{PACKAGE}.{module.name}").__doc__)
    page = f"api_{module.name}.qmd"
    rows = [
        (f"[`{name}`]({page}#{anchor(module, name)})", inspect.getdoc(obj))
        for name, obj in module.ours.items()
    ]
    return "\n".join([f"## [{module.name}]({page})", "", doc, "", table(rows, ("name", "what it is"))])


INDEX = """---
title: API reference
description: Every public name, with what it takes and gives
---

Import from the module: `from benchmark_profiling.ais import profile`.
Shapes and units stand beside each parameter.
"""


def write_api(folder: Path, names: list):
    "A page for each module, and one that lists all names."
    modules = [read_module(name) for name in names]
    for module in modules:
        (folder / f"api_{module.name}.qmd").write_text(module_page(module))
    (folder / "api.qmd").write_text("\n".join([INDEX, *map(index_section, modules)]))
