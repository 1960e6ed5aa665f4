"""The reference of the HTTP interface as one plain page, made of its OpenAPI document alone."""

from __future__ import annotations

from html import escape
from typing import Any

_STYLE = (
    "body{font:16px/1.5 sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
    "code{font-size:.95em}dt{margin-top:1rem}dd{margin-left:1.5rem}"
)


def reference_page(document: dict[str, Any]) -> str:
    """HTML of an OpenAPI document: each path with its method, summary and parameters."""
    info = document["info"]
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8>",
        f"<title>{escape(info['title'])} HTTP interface</title><style>{_STYLE}</style>",
        f"<h1>{escape(info['title'])} {escape(info['version'])}: HTTP interface</h1>",
        f"<p>{escape(info['description'])}</p>",
        "<p>As OpenAPI: <a href=openapi.json>openapi.json</a></p><dl>",
    ]
    for path, methods in document["paths"].items():
        for method, about in methods.items():
            parts.append(f"<dt><code>{method.upper()} {escape(path)}</code></dt>")
            parts.append(f"<dd>{escape(about.get('description', about.get('summary', '')))}")
            queries = [one["name"] for one in about.get("parameters", ()) if one["in"] == "query"]
            if queries:
                parts.append(f"<br>Query: <code>{escape(', '.join(queries))}</code>")
            kinds = list(about.get("requestBody", {}).get("content", ()))
            if kinds:
                parts.append(f"<br>Body: <code>{escape(', '.join(kinds))}</code>")
            parts.append("</dd>")
    return "".join([*parts, "</dl></html>"])
