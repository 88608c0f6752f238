"""The audit trail: one line for each call that changes connections, or tried to.

Says who, what, which connection, which fields and how it ended; never a value. Where the lines go and how
they look is the daemon's business: they are ordinary records of the logger `redeo.audit`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from admin_api.errors import ApiError

_log = logging.getLogger("redeo.audit")


@dataclass(slots=True)
class AuditEntry:
    """One call, filled in as it becomes known. `provider` is set once it is known to be one."""

    action: str  # put, patch or delete
    caller: str
    provider: str | None = None
    fields: tuple[str, ...] = ()
    outcome: str = "failed"  # created, updated, deleted, or the code of the refusal


@contextmanager
def audited(action: str, caller: str) -> Iterator[AuditEntry]:
    """Writes exactly one line when the block ends, however it does."""
    entry = AuditEntry(action, caller)
    try:
        yield entry
    except ApiError as exc:
        entry.outcome = exc.code
        raise
    finally:
        done = entry.outcome in {"created", "updated", "deleted"}
        _log.log(
            logging.INFO if done else logging.WARNING,
            "connections change",
            extra={
                "redeo": {
                    "action": entry.action,
                    "provider": entry.provider,
                    "fields": list(entry.fields),
                    "caller": entry.caller,
                    "outcome": entry.outcome,
                }
            },
        )
