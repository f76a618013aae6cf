"""The pages for people: every link leads somewhere, and the glossary has every word that the hub answers with."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from contracts import adapters, conflicts, deliveries, depth, routes

ROOT = Path(__file__).resolve().parents[2]
GLOSSARY = ROOT / "docs" / "glossary.md"


def pages() -> list[Path]:
    """Every tracked page."""
    listed = subprocess.run(["git", "ls-files", "*.md"], cwd=ROOT, capture_output=True, text=True, check=True)
    return [ROOT / name for name in listed.stdout.splitlines()]


def test_every_link_to_a_file_of_ours_leads_there() -> None:
    dead = [f"{page.relative_to(ROOT)}: {link}" for page in pages()
            for link in re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8"))
            if not link.startswith(("http://", "https://", "mailto:")) and not (page.parent / link).exists()]
    assert dead == []


@pytest.mark.parametrize("page", sorted((ROOT / "docs").rglob("*.md")), ids=lambda page: page.stem)
def test_no_table_is_cut_by_an_empty_line(page: Path) -> None:
    lines = ["", *page.read_text(encoding="utf-8").splitlines(), ""]
    assert [row for before, row, after in zip(lines, lines[1:], lines[2:], strict=False)
            if row.startswith("| ") and not before.startswith("|") and not after.startswith("|--")] == []


def commands(page: Path) -> list[str]:
    """What a reader of the page copies: its blocks of code without their comments, not what is only shown."""
    blocks = re.findall(r"^```(\w+.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return [re.sub(r"\s+# .*$", "", block, flags=re.MULTILINE) for block in blocks if not block.startswith("text\n")]


@pytest.mark.parametrize("chinese", sorted((ROOT / "docs" / "guides").glob("*.zh-CN.md")), ids=lambda page: page.stem)
def test_a_guide_has_the_same_commands_in_both_languages(chinese: Path) -> None:
    english = chinese.with_name(chinese.name.replace(".zh-CN", ""))
    assert commands(chinese) == commands(english)
    assert f"]({chinese.name})" in english.read_text(encoding="utf-8")
    assert f"]({english.name})" in chinese.read_text(encoding="utf-8")


@pytest.mark.parametrize("words", [deliveries.STATES, routes.DIRECTIONS, adapters.GUARANTEES, conflicts.RESOLUTIONS,
                                   depth.DEPTHS],
                         ids=["states", "directions", "guarantees", "resolutions", "depths"])
def test_the_glossary_has_the_words_of_the_contracts(words: tuple[str, ...]) -> None:
    text = GLOSSARY.read_text(encoding="utf-8")
    assert [word for word in words if f"`{word}`" not in text and f"| {word} |" not in text] == []


def test_every_term_of_the_glossary_has_its_chinese_and_a_meaning_and_stands_there_once() -> None:
    rows = [line.strip("|").split(" | ") for line in GLOSSARY.read_text(encoding="utf-8").splitlines()
            if line.startswith("| ") and not line.startswith("| term |")]
    assert [row for row in rows if len(row) != 3 or not re.search("[\u4e00-\u9fff]", row[1]) or len(row[2]) < 20] == []
    terms = [row[0].strip() for row in rows]
    assert sorted({term for term in terms if terms.count(term) > 1}) == []


@pytest.mark.parametrize("page", ["README.md", "README.zh-CN.md", "docs/architecture.md"])
def test_the_glossary_is_found_from_where_readers_begin(page: str) -> None:
    assert "glossary.md" in (ROOT / page).read_text(encoding="utf-8")
