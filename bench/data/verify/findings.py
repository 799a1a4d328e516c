"""What `bench data verify` found, grouped: one mistake in 836 videos is a single line."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

Level = Literal["wrong", "warning", "ok"]

WIDTH = 120


@dataclass
class Finding:
    """The result of one check. advice: what to do about it. where: the places, in the order they were found."""

    level: Level
    check: str
    found: str
    advice: str = ""
    where: list[str] = field(default_factory=list)


@dataclass
class Report:
    """The findings on one data set. wrong: numbers from these files are not comparable, or cannot be computed."""

    title: str
    findings: list[Finding] = field(default_factory=list)

    def add(self, level: Level, check: str, found: str, advice: str = "", where: str = "") -> None:
        """If the same finding is added again, only its place is added."""
        for known in self.findings:
            if (known.level, known.check, known.found) == (level, check, found):
                break
        else:
            known = Finding(level, check, found, advice)
            self.findings.append(known)
        if where:
            known.where.append(where)

    def wrong(self, check: str, found: str, advice: str = "", where: str = "") -> None:
        self.add("wrong", check, found, advice, where)

    def warning(self, check: str, found: str, advice: str = "", where: str = "") -> None:
        self.add("warning", check, found, advice, where)

    def ok(self, check: str, found: str) -> None:
        """Report that a check passed, unless the same check has found something."""
        if not any(known.check == check and known.level != "ok" for known in self.findings):
            self.add("ok", check, found)

    @property
    def is_wrong(self) -> bool:
        return any(finding.level == "wrong" for finding in self.findings)

    def __str__(self) -> str:
        """As text: first what is wrong, then warnings, then what is right, each with advice below."""
        levels: tuple[Level, ...] = ("wrong", "warning", "ok")
        lines = [self.title, ""]
        for level in levels:
            for finding in self.findings:
                if finding.level == level:
                    lines += _lines(finding)
        counts = Counter(finding.level for finding in self.findings)
        return "\n".join([*lines, "", ", ".join(f"{counts[level]} {level}" for level in levels)])


def _lines(finding: Finding) -> Iterator[str]:
    margin = 25
    head = f"{finding.level:9}{finding.check:{margin - 9}}"
    yield from textwrap.wrap(finding.found, WIDTH, initial_indent=head, subsequent_indent=" " * margin)
    for label, text in (("where", _places(finding.where)), ("do", finding.advice)):
        if text:
            first = " " * margin + f"{label}: "
            yield from textwrap.wrap(text, WIDTH, initial_indent=first, subsequent_indent=" " * len(first))


def _places(where: list[str], shown: int = 3) -> str:
    more = f" and {len(where) - shown:,} more" if len(where) > shown else ""
    return "; ".join(where[:shown]) + more
