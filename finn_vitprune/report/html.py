"""Tables and pictures as one self-contained HTML page: no script, no file or address outside it."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from finn_vitprune.report.tables import TextTable


def to_html(title: str, tables: Sequence[TextTable], pictures: Mapping[str, str] = MappingProxyType({})) -> str:
    """The page.

    Args:
        pictures: addresses that hold the pictures themselves, by their title; they come before the tables.
    """
    shown = [f'<h2>{html.escape(name)}</h2>\n<img alt="{html.escape(name)}" src="{data}">' for name, data in pictures.items()]
    return _PAGE.format(title=html.escape(title), body="\n".join([*shown, *map(_section, tables)]))


def _section(table: TextTable) -> str:
    def row(cells: Sequence[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(c)}</{tag}>" for c in cells) + "</tr>"

    rows = "\n".join(row(r, "td") for r in table.rows)
    note = f"<p>{html.escape(table.note)}</p>" if table.note else ""
    return f"<h2>{html.escape(table.title)}</h2>\n<table>\n{row(table.columns, 'th')}\n{rows}\n</table>\n{note}"


_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{title}</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem; color: #222; }}
h1 {{ font-size: 1.5rem; }} h2 {{ font-size: 1.1rem; margin: 2rem 0 .5rem; }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; }}
th, td {{ padding: .25rem .8rem; border-bottom: 1px solid #ddd; text-align: right; }}
th:first-child, td:first-child {{ text-align: left; }}
th {{ border-bottom: 2px solid #888; }}
img {{ max-width: 100%; }}
p {{ color: #555; margin: .4rem 0; }}
</style>
</head>
<body>
<h1>{title}</h1>
{body}
</body>
</html>
"""
