"""What the site needs beyond docs/: pages from elsewhere in the repository, notebooks, links that hold there, and the API reference.

Links in the repository are written for who reads it there. On the site a link to a page leads to that page, and one to any other
file to a copy of the file; the words of a link to a folder stay, the link goes.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from os.path import normpath
from pathlib import Path, PurePosixPath
from posixpath import relpath

import nbformat
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from nbconvert import MarkdownExporter

ROOT = Path(__file__).parents[2]
INDEX, REFERENCE = "index.md", "reference.md"
FENCE = re.compile(r"^(```.*?^```)", re.DOTALL | re.MULTILINE)
ROLE = re.compile(r":[a-z]+:<code>[~.]?")
LINK = re.compile(r"\[(?P<text>(?:[^\[\]]|\[[^\]]*\])*)\]\((?P<target>[^)\s]+)\)|\bsrc(?:set)?=\"(?P<source>[^\"]+)\"")


NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def _pages() -> dict[str, str]:
    """Where each Markdown file and notebook of the repository is on the site."""
    found = {
        "README.md": INDEX,
        "CHANGELOG.md": "CHANGELOG.md",
        "CONTRIBUTING.md": "CONTRIBUTING.md",
        "notebooks/README.md": "notebooks.md",
    }
    for folder, home in (("docs", "docs"), ("builds/results", "builds")):
        found |= {str(path.relative_to(ROOT)): str(path.relative_to(ROOT / home)) for path in sorted((ROOT / folder).rglob("*.md"))}
    return found | {str(path.relative_to(ROOT)): str(path.relative_to(ROOT).with_suffix(".md")) for path in NOTEBOOKS}


PAGES = _pages()


def _place(path: str) -> str:
    """Where a file of the repository is on the site."""
    return PAGES.get(path) or (path.removeprefix("docs/") if path.startswith("docs/") else f"files/{path}")


def _read(page: str) -> tuple[str, dict[str, bytes]]:
    """A page as Markdown, and the pictures that a notebook shows, by their place on the site."""
    if page.endswith(".md"):
        return (ROOT / page).read_text(), {}
    name = Path(page).stem
    text, found = MarkdownExporter().from_notebook_node(
        nbformat.read(ROOT / page, as_version=4), {"unique_key": name, "output_files_dir": f"{name}_pictures"}
    )
    text = text.replace("\n%matplotlib inline\n", "\n").replace("![png](", "![What the code above draws](")
    return text, {f"notebooks/{picture}": content for picture, content in found["outputs"].items()}


def _linked(page: str, text: str) -> Iterator[str]:
    """The files of the repository that a page links to."""
    for part in FENCE.split(text)[::2]:
        for link in LINK.finditer(part):
            path = _target(page, link["target"] or link["source"])
            if path and (ROOT / path).is_file():
                yield path


def _target(page: str, link: str) -> str | None:
    """The path in the repository that a link of a page means; none where it leads elsewhere."""
    path = link.partition("#")[0]
    return normpath(PurePosixPath(page).parent / path) if path and not re.match(r"[a-z]+:", path) else None


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add pages and linked files from outside of docs/, and the page of the reference."""
    for page, place in PAGES.items():
        text, pictures = _read(page)
        if page.endswith(".md"):
            found = [File.generated(config, place, abs_src_path=str(ROOT / page))]
        else:
            found = [File.generated(config, uri, content=content) for uri, content in ((place, text), *pictures.items())]
        others = sorted(set(_linked(page, text)) - PAGES.keys())
        for file in (*found, *(File.generated(config, _place(path), abs_src_path=str(ROOT / path)) for path in others)):
            if files.get_file_from_path(file.src_uri) is None:
                files.append(file)
    files.append(File.generated(config, REFERENCE, content=_reference()))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links of the repository into those of the site."""
    here = page.file.src_uri
    source = next((path for path, place in PAGES.items() if place == here), None)
    if source is None:
        return markdown

    def turned(link: re.Match[str]) -> str:
        target = link["target"] or link["source"]
        path = _target(source, target)
        if path is None or not (ROOT / path).exists():
            return link[0]
        if (ROOT / path).is_dir():
            return link["text"]
        place = relpath(_place(path), str(PurePosixPath(here).parent))
        _, hash_, anchor = target.partition("#")
        return link[0].replace(target, place + hash_ + anchor)

    parts = FENCE.split(markdown)
    return "".join(part if n % 2 else LINK.sub(turned, part) for n, part in enumerate(parts))


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Docstrings mark names as Sphinx does; here they are code alone."""
    return ROLE.sub(r"<code>", html) if page.file.src_uri == REFERENCE else html


def _reference() -> str:
    """A section for every public name of the package, from its docstring."""
    sys.path.insert(0, str(ROOT))
    import finn_vitprune

    names = [_section(finn_vitprune._HOMES[name], name) for name in finn_vitprune.__all__]
    intro = "# Reference\n\nThe public names of the package: `from finn_vitprune import ...`. [From Python](api.md) shows them at work.\n"
    return "\n\n".join([intro, *names, ""])


def _section(module: str, name: str) -> str:
    """What mkdocstrings takes the place of. Fields of pydantic's models are listed one by one: they have no signature."""
    source = ROOT.joinpath("finn_vitprune", *module.split(".")).with_suffix(".py").read_text()
    classes = [node for node in ast.parse(source).body if isinstance(node, ast.ClassDef) and node.name == name]
    model = any(ast.unparse(base).endswith(("Model", "Section")) for node in classes for base in node.bases)
    options = "\n    options: {show_if_no_docstring: true, show_bases: false}" if model else ""
    return f"::: finn_vitprune.{module}.{name}{options}"
