"""One page out of data, style and scripts. Nothing in it is fetched, and no text of a record becomes markup."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

SCRIPTS = ("page.js", "charts.js", "board.js", "viewer.js", "main.js")


def render(content: Mapping[str, Any]) -> str:
    """The page. content: as `bench.show.report.gather.gather`. Raises ValueError if a number is not finite."""
    style = _asset("style.css")
    script = '"use strict";\n' + "\n".join(_asset(name) for name in SCRIPTS)
    # "<" alone could end the element that holds the data; in JSON it may be written so.
    data = json.dumps(content, allow_nan=False, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    parts = {"policy": _policy(style, script), "style": style, "data": data, "script": script}
    before, *pieces = _asset("template.html").split("{{")
    return before + "".join(parts[name] + rest for name, rest in (piece.split("}}", 1) for piece in pieces))


def _policy(style: str, script: str) -> str:
    """What the browser may do: run this script, apply this style, and nothing else."""
    return f"default-src 'none'; script-src {_digest(script)}; style-src {_digest(style)}; img-src data:"


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _asset(name: str) -> str:
    return (files(__package__) / name).read_text(encoding="utf-8")
