"""The fault matrix: its rows, what each demands, and the cases that show it, by dialect and form of the answer.

A row is declared once and collects its cases:

    REFUSED = Row(1, "connection refused", "the next connection answers; a failure of the first")

    @REFUSED.case()
    async def refused(case: Case) -> None: ...

Every case runs in each dialect, whole and streamed, unless it says otherwise; `each` gives it variants. After a case
the framework checks what must hold after any fault (I1 to I7):

- I1 each stream has one terminator or one error event, and the official SDK of its dialect sees it so: `judge.py`
- I2 no connection is tried twice, and one alone where there is no fault; I3 after the commit nobody else is tried;
  I7 the counters add up to what was sent: `Bench.check`
- I4 tasks, sockets and files are as before, I6 nobody complains of forgotten ones: the fixture `settled`
- I5 no canary is found where it has no business: the fixture `case`
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import pytest

from tests.matrix.judge import judge
from tests.support.canary import Canaries
from tests.support.daemon import Answer, Factory, Redeo
from tests.support.speech import ANTHROPIC, CHAT, RESPONSES, SPEECHES, Bench, Speech, outcome, total
from tests.support.upstream import Script

ONE: Final = (CHAT,)  # for what does not depend on the dialect
Run = Callable[..., Awaitable[None]]
ROWS: Final[dict[int, Row]] = {}


@dataclass(frozen=True)
class Cell:
    """One case in one dialect, whole or streamed."""

    number: int
    name: str
    run: Run
    arguments: tuple[Any, ...]
    dialects: tuple[Speech, ...]  # one, or all of which it asks at once
    streamed: bool
    fault_free: bool

    @property
    def speech(self) -> Speech:
        """The dialect in which it asks, where it does not ask in several."""
        return self.dialects[0]

    def __str__(self) -> str:
        dialect = self.speech.name if len(self.dialects) == 1 else "mixed"
        return f"row{self.number:02}-{self.name}-{dialect}-{'stream' if self.streamed else 'whole'}"


@dataclass
class Row:
    """One fault. `required`: what the client gets, and what becomes of the connection, in one line."""

    number: int
    fault: str
    required: str
    cells: list[Cell] = field(default_factory=list)

    def __post_init__(self) -> None:
        assert self.number not in ROWS, f"row {self.number} stands twice"
        ROWS[self.number] = self

    def case(
        self,
        *,
        whole: bool = True,
        stream: bool = True,
        dialects: tuple[Speech, ...] = SPEECHES,
        each: Mapping[str, Any] | tuple[Any, ...] | None = None,
        fault_free: bool = False,
        mixed: bool = False,
    ) -> Callable[[Run], Run]:
        """A case of the row. `each`: values for a second argument, by name or as they read; `fault_free`: the provider
        does nothing wrong, so every request is one attempt; `mixed`: one daemon is asked in all at once."""
        if each is None:
            variants: dict[str, tuple[Any, ...]] = {"": ()}
        elif isinstance(each, Mapping):
            variants = {name: (value,) for name, value in each.items()}
        else:
            variants = {str(value): (value,) for value in each}

        def add(run: Run) -> Run:
            for variant, arguments in variants.items():
                name = re.sub(r"[^a-z0-9.]+", "-", f"{run.__name__} {variant}".lower()).strip("-")
                for spoken in (dialects,) if mixed else ((speech,) for speech in dialects):
                    for streamed in [False] * whole + [True] * stream:
                        self.cells.append(Cell(self.number, name, run, arguments, spoken, streamed, fault_free))
            return run

        return add


@dataclass
class Case:
    """What a case works with: its dialect and form, daemons in front of scripted providers, and requests to them."""

    cell: Cell
    redeo: Factory
    provider: Any  # `await provider(script, ...)`: an Upstream
    canaries: Canaries
    folder: Path
    monkeypatch: pytest.MonkeyPatch
    benches: list[Bench] = field(default_factory=list)
    judged: list[tuple[Speech, Answer]] = field(default_factory=list)

    @property
    def speech(self) -> Speech:
        """The dialect in which it asks."""
        return self.cell.speech

    @property
    def streamed(self) -> bool:
        """Whether it asks for streams."""
        return self.cell.streamed

    @property
    def good(self) -> Script:
        """A provider that answers well, with content that must not be found in any log."""
        return self.speech.good(self.canaries.text("answer"))

    async def bench(self, *places: Any, **settings: Any) -> Bench:
        """A daemon in front of these (script, Upstream or base URL), connected as alpha, beta and gamma."""
        speech = settings.pop("speech", self.speech)
        self.benches.append(await Bench.start(self.redeo, self.provider, *places, speech=speech, **settings))
        return self.benches[-1]

    async def ask(self, bench: Bench | None = None, **fields: Any) -> Answer:
        """One request in the dialect and form of the case, to the last bench if none is named."""
        return await (bench or self.benches[-1]).ask(stream=self.streamed, **{**self.prompt(), **fields})

    def prompt(self) -> dict[str, Any]:
        """The content of a request, which must not be found in any log."""
        text = self.canaries.text()
        return {"input": text} if self.speech is RESPONSES else {"messages": [{"role": "user", "content": text}]}

    async def moves_on(self, said: str, result: str | None = None) -> Answer:
        """Ask alpha, which fails as `said` in `x-redeo-attempts` and is counted as `result`; beta answers."""
        bench, result = self.benches[-1], result or said
        counters = (
            outcome("alpha", result),
            f'redeo_fallbacks_total{{reason="{result}",source="alpha",target="beta"}}',
        )
        before = await bench.server.metrics()
        got = await self.ask()
        assert got.status == 200, got.body
        assert got.attempts == f"alpha={said} beta=200"
        assert got.headers["x-redeo-provider"] == "beta"
        after = await bench.server.metrics()
        assert [total(after, name) for name in counters] == [total(before, name) + 1 for name in counters]
        return got

    async def state(self, server: Redeo | None = None, connection: str = "alpha") -> str:
        """What `redeo_breaker_state` says of a connection."""
        text = await (server or self.benches[-1].server).metrics()
        found = re.findall(rf'^redeo_breaker_state{{connection="{connection}",state="(\w+)"}} 1(?:\.0)?$', text, re.M)
        assert len(found) == 1, found
        return str(found[0])

    def shift(self, seconds: float) -> None:
        """Let the clock by which connections rest jump forward."""
        self.benches[-1].shift(seconds)

    def judge(self, answer: Answer, speech: Speech | None = None) -> None:
        """Have an answer that no bench asked for judged by the SDK of its dialect when the case is over."""
        self.judged.append((speech or self.speech, answer))

    async def check(self) -> None:
        """What holds after every fault: I1, I2, I3 and I7; the fixtures see to the others."""
        for bench in self.benches:
            await bench.check()  # I1 by the letter, I2, I3, I7
            self.judged += [(bench.speech, answer) for answer in bench.answers]
            if self.cell.fault_free:  # I2
                assert all(len(answer.attempts.split()) == 1 for answer in bench.answers)
                assert sum(len(up.requests) for up in bench.ups.values()) == len(bench.answers) + bench.left
        alike = {(a.status, a.headers.get("content-type"), a.broken, a.body): (s, a) for s, a in self.judged}
        for speech, answer in alike.values():
            judge(speech, answer)  # I1 by the SDKs


def load() -> dict[int, Row]:
    """Every row by its number, from all modules named rows_*.py beside this one."""
    for path in sorted(Path(__file__).parent.glob("rows_*.py")):
        import_module(f"tests.matrix.{path.stem}")
    return dict(sorted(ROWS.items()))


def cells() -> list[Cell]:
    """Every cell of every row, in order."""
    return [cell for row in load().values() for cell in row.cells]


__all__ = ["ANTHROPIC", "CHAT", "ONE", "RESPONSES", "ROWS", "SPEECHES", "Case", "Cell", "Row", "cells", "load"]
