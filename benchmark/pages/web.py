"""The page as one self-contained HTML file, by jinja2 with every text escaped. It asks no other host for anything."""

import json
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from benchmark.core.text import readable
from benchmark.pages.view import Page

TEMPLATES = Path(__file__).resolve().parent / "templates"


def page_html(page: Page) -> str:
    """Return the page as HTML text."""
    environment = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined)
    environment.finalize = _finalised
    template = environment.get_template("page.html.j2")
    return template.render(
        page=page,
        style=_asset("style.css"),
        script=_asset("page.js"),
        records_json=_script_json(page.records),
    )


def _finalised(value: Any) -> Any:
    """Clean every text of others before it is escaped; what the project itself marked as safe stays as it is."""
    return readable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _asset(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8")


def _script_json(content: Any) -> str:
    """Return JSON that may stand inside a script element: nothing in it can end the element."""
    text = json.dumps(content, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
