"""The site of the documentation: it builds strictly and without network, its links hold, and it leaves no page out."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass, field
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import nbformat
import pytest

import finn_vitprune

pytest.importorskip("mkdocs", reason="the site needs pip install 'finn-vitprune[docs]'")

ROOT = Path(__file__).parents[2]
WITHOUT_NETWORK = """
import socket, sys
def refused(*_): raise OSError("no network here")
socket.socket.connect = socket.create_connection = socket.getaddrinfo = refused
from mkdocs.__main__ import cli
cli(sys.argv[1:])
"""


@dataclass
class Html(HTMLParser):
    """What a page links to, what a browser loads with it, and the places in it that can be linked to."""

    links: list[str] = field(default_factory=list)
    loaded: list[str] = field(default_factory=list)
    places: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        of = {name: value or "" for name, value in attrs}
        self.places |= {of[name] for name in ("id", "name") if name in of}
        if tag == "a" and "href" in of:
            self.links.append(of["href"])
        if tag == "link" and of.get("rel") not in ("canonical", "next", "prev"):
            self.loaded.append(of["href"])
        if tag in ("script", "img", "iframe", "source") and (source := of.get("src") or of.get("srcset")):
            self.loaded.append(source)


def read(page: Path) -> Html:
    html = Html()
    html.feed(page.read_text())
    return html


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = ["build", "--strict", "--quiet", "--config-file", str(ROOT / "docs" / "site" / "mkdocs.yml"), "--site-dir", str(folder)]
    done = subprocess.run([sys.executable, "-c", WITHOUT_NETWORK, *command], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site) -> dict[Path, Html]:
    return {page: read(page) for page in sorted(site.rglob("*.html"))}


def test_its_pages_load_nothing_from_elsewhere(site, pages):
    loaded = [(page.name, source) for page, html in pages.items() for source in html.loaded if not source.startswith("data:")]
    assert len(loaded) > len(pages), "style sheets and scripts at least"
    assert not [(page, source) for page, source in loaded if urlsplit(source).netloc]
    styles = "".join(style.read_text() for style in site.rglob("*.css"))
    assert not re.findall(r"(?:@import\s+|url\()[\"']?(?:https?:)?//", styles)


def test_links_hold(site, pages):
    broken = []
    for page, html in pages.items():
        for link in [*html.links, *html.loaded]:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc or page.name == "404.html":
                continue
            target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            target = target / "index.html" if target.is_dir() else target
            known = target.is_file() and (not parts.fragment or target not in pages or unquote(parts.fragment) in pages[target].places)
            if not known:
                broken.append(f"{page.relative_to(site)}: {link}")
    assert not broken, "\n".join(broken)


def test_every_page_of_the_repository_is_in_the_navigation(site, pages):
    index = site / "index.html"
    listed = {(site / link).resolve() for link in pages[index].links}
    guides = [site / path.stem for path in (ROOT / "docs").glob("*.md")]
    results = [site / path.relative_to(ROOT / "builds").with_suffix("") for path in (ROOT / "builds" / "results").rglob("*.md")]
    others = [site / "notebooks" / path.stem for path in (ROOT / "notebooks").glob("*.ipynb")]
    others += [site / name for name in ("CHANGELOG", "CONTRIBUTING", "reference", "notebooks", "example_report.html")]
    assert len(guides) > 15 and len(results) > 10 and len(others) > 10
    assert not [str(page) for page in (*guides, *results, *others) if page.resolve() not in listed]


def test_the_reference_has_every_public_name_with_its_words(site, pages):
    page = site / "reference" / "index.html"
    text = " ".join(re.sub(r"<[^>]+>", "", page.read_text()).split())
    for name in finn_vitprune.__all__:
        assert f"finn_vitprune.{finn_vitprune._HOMES[name]}.{name}" in pages[page].places
        first = " ".join((getattr(finn_vitprune, name).__doc__ or "").split("\n\n")[0].split()).rstrip(".:")
        plain = re.sub(r":\w+:|[`~]", "", first)
        assert plain[:40] in re.sub(r":\w+:|[`~]", "", text), name


def test_the_first_page_is_the_readme(site):
    title = (ROOT / "README.md").read_text().splitlines()[0].lstrip("# ")
    assert f'<h1 id="{title}"' in (site / "index.html").read_text()


def test_notebooks_show_what_is_stored_in_them(site, pages):
    shown = [page for page in pages if page.parent.parent == site / "notebooks"]
    assert len(shown) == len(list((ROOT / "notebooks").glob("*.ipynb")))
    for page in shown:
        stored = nbformat.read(ROOT / "notebooks" / f"{page.parent.name}.ipynb", as_version=4)
        outputs = [output for cell in stored.cells for output in cell.get("outputs", ())]
        pictures = [source for source in pages[page].loaded if source.endswith(".png") and "_pictures/" in source]
        assert len(pictures) == sum("image/png" in output.get("data", {}) for output in outputs)
        text = " ".join(unescape(re.sub(r"<[^>]+>", "", page.read_text())).split())
        for output in outputs:
            assert " ".join(output.get("text", "").split())[:200] in text
