"""A Health whose attempts come one after the other: what is said of a connection is said of its last attempt."""

from __future__ import annotations

from config.model import Connection
from proxy.fault import Fault
from proxy.routing import Health, Ticket


class Led(Health):
    """Keeps the tickets that the engine would keep."""

    _last: dict[str, Ticket]

    def _ticket(self, connection: Connection) -> Ticket:
        return self.__dict__.setdefault("_last", {}).get(connection.identity) or Ticket()

    def admit(self, connection: Connection, model: str | None = None) -> Ticket | None:
        ticket = super().admit(connection, model)
        if ticket is not None:
            self.__dict__.setdefault("_last", {})[connection.identity] = ticket
        return ticket

    def succeeded(self, connection: Connection, model: str | None, ticket: Ticket | None = None) -> None:
        super().succeeded(connection, model, ticket or self._ticket(connection))

    def failed(self, connection: Connection, model: str | None, fault: Fault, ticket: Ticket | None = None) -> None:
        super().failed(connection, model, fault, ticket or self._ticket(connection))

    def released(self, connection: Connection, ticket: Ticket | None = None) -> None:
        super().released(connection, ticket or self._ticket(connection))
