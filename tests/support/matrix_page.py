"""docs/dialects.md, made of what `tests.support.matrix` measures: `python -m tests.support.matrix_page RECORDINGS`."""

from __future__ import annotations

import sys
from pathlib import Path

from proxy.dialects.base import DialectName
from tests.support.answered import REPLIES
from tests.support.asked import QUESTIONS
from tests.support.matrix import MODELS, Cell, Outcome, Rows, measure

NAMES = {
    DialectName.CHAT: "Chat Completions",
    DialectName.MESSAGES: "Messages",
    DialectName.RESPONSES: "Responses",
    DialectName.GEMINI: "generateContent",
    DialectName.CONVERSE: "Converse",
    DialectName.COHERE: "Cohere",
    DialectName.OLLAMA: "Ollama",
}
TOP = """\
<!-- made by `make dialects` from the recorded provider traffic; do not edit -->
# Dialect by dialect

What survives when a client of one dialect is served by a connection of another. Every cell is a measurement: each
feature was cut out of recorded questions and answers of real clients and providers, written in the other dialect, read
back from it, and held against what went in; answers whole and streamed. `make dialects` makes this page, and a test
fails when it is not what the code does.

- **bytes**: both speak the same dialect; what came in goes out, byte for byte.
- **exact**: what comes back is what went in.
- **mapped**: it is said in other words, which the note shows.
- **dropped**: there is no word for it; the header `x-redeo-dropped` says so (of a streamed answer a comment before its
  end), and the note says why.
- **refused**: the question would not be the same without it; this connection is passed over, with the reason.
- **–**: the dialect that it would come from does not have it.
- **†**: no recording has it; measured with an example.

Vertex AI and Azure OpenAI speak dialects of this table: generateContent and Messages, Chat Completions and Responses.
What a dialect has is not what each of its models takes; where that matters, the questions were written for MODELS. For
another model more may be dropped, and is named then too.

## What may differ in the same dialect

Only where an answer or a question of the client's own dialect has to be written anew, because it holds what another
dialect sealed: white space inside JSON arguments, fields of the provider's own beside the dialect's, the ids of items,
a date that was not given, whether thinking counts as text or as its summary, and where a text is cut into blocks.
Everything else is equal in meaning, tested on every recorded exchange.
"""


class Notes:
    """Each reason once, numbered as it first appears."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def marks(self, cell: Cell) -> str:
        numbers = [self._numbers.setdefault(note, len(self._numbers) + 1) for note in cell.notes]
        return " ".join(f"[{number}](#n{number})" for number in numbers)

    def page(self) -> str:
        return "".join(f'<a id="n{number}"></a>{number}. {note}\n' for note, number in self._numbers.items())


def _table(title: str, rows: Rows, notes: Notes) -> str:
    shown = {name: cells for name, cells in rows.items() if any(c.outcome is not Outcome.NONE for c in cells.values())}
    lines = [f"| {title} | " + " | ".join(NAMES.values()) + " |", "| --- |" + " --- |" * len(NAMES)]
    for name, cells in shown.items():
        row = [f"{cells[of].outcome} {notes.marks(cells[of])}".strip() for of in NAMES]
        mark = " †" if any(cell.made_up for cell in cells.values()) else ""
        lines.append(f"| {name}{mark} | " + " | ".join(row) + " |")
    missing = [name for name in rows if name not in shown]
    return "\n".join(lines) + "\n" + (f"\nNot in this dialect: {', '.join(missing)}.\n" if missing else "")


def page(recordings: Path) -> str:
    """The whole page."""
    notes = Notes()
    out = [TOP.replace("MODELS", ", ".join(f"`{name}`" for name in dict.fromkeys(MODELS.values())))]
    for client, asked, answered in measure(recordings, QUESTIONS, REPLIES):
        out.append(f"\n## A client of {NAMES[client]}\n\n")
        out.append(_table("its question to", asked, notes))
        out.append("\n" + _table("its answer from", answered, notes))
    return "".join(out) + "\n## Notes\n\n" + notes.page()


if __name__ == "__main__":
    sys.stdout.write(page(Path(sys.argv[1])))
