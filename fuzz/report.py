"""What a campaign found, as rows of one table."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Row:
    """One part of a campaign: how much it did, and what it found."""

    name: str
    did: str  # "12,345 inputs"
    seconds: float
    more: str = ""
    findings: list[str] = field(default_factory=list)


def table(rows: list[Row]) -> str:
    """The rows for a person, findings below."""
    cells = [(r.name, r.did, f"{r.seconds:.0f} s", r.more, str(len(r.findings))) for r in rows]
    cells = [("what", "did", "time", "", "findings"), *cells]
    widths = [max(len(row[n]) for row in cells) for n in range(5)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
    lines.insert(1, "  ".join("-" * width for width in widths))
    lines += ["", *(f"{row.name}: {finding}" for row in rows for finding in row.findings)]
    return "\n".join(lines).rstrip()
