"""The table of a benchmark: medians and spread over the rounds, ratios to nginx round by round, what is wanted."""

from __future__ import annotations

import re
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from bench_measures import ADDED, BUSIEST, CHUNK, COMPLETE, CPU, FIRST, IDLE, LOADED, RATE, Figures

LIMIT = "nginx"  # what all are compared with
HEAVIER = "100 kB to 1 kB"
SECOND = "second worker"


@dataclass
class Results:
    """Figures by subject and row, one for each round; what failed, by subject and measure."""

    rounds: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)
    ours: set[str] = field(default_factory=set)

    def add(self, subject: str, figures: Figures) -> None:
        """The figures of one round."""
        rows = self.rounds.setdefault(subject, {})
        for row, figure in figures.items():
            rows.setdefault(row, []).append(figure)

    def of(self, subject: str, row: str) -> list[float]:
        """One figure for each round; none where it was not measured."""
        return self.rounds.get(subject, {}).get(row, [])


@dataclass(frozen=True)
class Want:
    """What is wanted of a row: of its median, or of its ratio to nginx."""

    row: str
    most: float
    ratio: bool = False
    least: bool = False  # it is the least that is wanted

    def judged(self, figures: list[float], ratios: list[float]) -> str:
        """As it stands in the table."""
        judged = ratios if self.ratio else figures
        if not judged:
            return ""
        middle = statistics.median(judged)
        held = middle >= self.most if self.least else middle <= self.most
        sign = "≥" if self.least else "≤"
        return f"{sign} {self.most:g}{' ×' if self.ratio else ''}: {'yes' if held else 'NO'}"


WANTED = (
    Want(f"{CPU}, 1 kB, 64 clients", 6, ratio=True),
    Want(f"{CPU}, 1 kB, 1 client", 3, ratio=True),
    Want(CHUNK, 2, ratio=True),
    Want(f"{HEAVIER}, 1 client", 2),
    Want(f"{HEAVIER}, 64 clients", 2),
    Want(IDLE, 45),
    Want("memory a stream, 1,000 open", 12),
    Want("memory a stream, 5,000 open", 12),
    Want(COMPLETE, 5000, least=True),
    Want(FIRST, 300),
    Want(f"{SECOND}: times one, by CPU", 1.8, least=True),
)
_UNITS = {  # by the beginning of a row's name, in the order of the table
    CPU: "µs",
    HEAVIER: "×",
    RATE: "/s",
    SECOND: "×",
    CHUNK: "µs",
    "chunks a second": "/s",
    ADDED: "ms",
    FIRST: "ms",
    IDLE: "MB",
    "memory a stream": "kB",
    COMPLETE: "",
    LOADED: "MB",
}


def unit(row: str) -> str:
    """The unit of a row."""
    return next((unit for start, unit in _UNITS.items() if row.startswith(start)), "")


def pairs(one: list[float], other: list[float], how: Callable[[float, float], float]) -> list[float]:
    """Both figures of each round together."""
    return [how(a, b) for a, b in zip(one, other, strict=False) if b > 0]


def derive(results: Results) -> None:
    """Adds the rows that are made of others: a large body beside a small one, two workers beside one."""
    for subject, rows in results.rounds.items():
        for clients in ("1 client", "64 clients"):
            large, small = (rows.get(f"{CPU}, {size}, {clients}", []) for size in ("100 kB", "1 kB"))
            if found := pairs(large, small, lambda a, b: a / b):
                rows[f"{HEAVIER}, {clients}"] = found
        alone = re.sub(r" x\d+$", "", subject)
        if alone != subject and alone in results.rounds:
            row = "1 kB, 64 clients"
            one, most = results.of(alone, f"{CPU}, {row}"), results.of(subject, f"{CPU}, {row}{BUSIEST}")
            rows[f"{SECOND}: times one, by CPU"] = pairs(one, most, lambda a, b: a / b)
            rates = results.of(subject, f"{RATE}, {row}"), results.of(alone, f"{RATE}, {row}")
            rows[f"{SECOND}: times one, here"] = pairs(*rates, lambda a, b: a / b)


def table(results: Results) -> str:
    """All of it as one table in Markdown, with columns that stand under each other."""
    heads = ["", "", "median", "min … max", "to nginx", "wanted", "load", "provider"]
    lines = [heads, *_lines(results)]
    widths = [max(len(line[at]) for line in lines) for at in range(len(heads))]
    out = []
    for line in lines:
        cells = [line[at].ljust(width) if at < 2 else line[at].rjust(width) for at, width in enumerate(widths)]
        out.append(f"| {' | '.join(cells)} |")
    rules = ["-" * width if at < 2 else "-" * (width - 1) + ":" for at, width in enumerate(widths)]
    out.insert(1, f"| {' | '.join(rules)} |")
    return "\n".join(out)


def _lines(results: Results) -> Iterator[list[str]]:
    rows = dict.fromkeys(row for figures in results.rounds.values() for row in figures if " | " not in row)
    for row in _ordered(list(rows)):
        title = f"{row}, {unit(row)}".removesuffix(", ")
        for subject in results.rounds:
            if figures := results.of(subject, row):
                yield [title, subject, *_cells(results, row, subject, figures)]
                title = ""


def _ordered(rows: list[str]) -> list[str]:
    """The same, with rows of the same kind together."""
    kinds = list(_UNITS)
    return sorted(rows, key=lambda row: next((at for at, kind in enumerate(kinds) if row.startswith(kind)), len(kinds)))


def _cells(results: Results, row: str, subject: str, figures: list[float]) -> list[str]:
    limit = results.of(LIMIT, row)
    comparable = limit and subject != LIMIT and not row.startswith((HEAVIER, SECOND, COMPLETE, ADDED, "chunks"))
    ratios = pairs(figures, limit, lambda a, b: a / b) if comparable else []
    want = next(
        (want for want in WANTED if want.row == row and (subject in results.ours or row.startswith(SECOND))), None
    )
    costs = [results.of(subject, f"{row} | {who}") for who in ("load", "provider")]
    return [
        short(statistics.median(figures)),
        f"{short(min(figures))} … {short(max(figures))}",
        f"{short(statistics.median(ratios))} ({short(min(ratios))} … {short(max(ratios))})" if ratios else "",
        want.judged(figures, ratios) if want else "",
        *(short(statistics.median(cost)) if cost else "" for cost in costs),
    ]


def short(figure: float) -> str:
    """Three digits."""
    if abs(figure) >= 100:
        return f"{figure:,.0f}"
    return f"{figure:.1f}" if abs(figure) >= 10 else f"{figure:.2f}"
