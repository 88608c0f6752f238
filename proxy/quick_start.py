"""What makes the start quick and the process small; imported before anything else of the daemon.

Importing any part of aiohttp imports all of it, client and connector with it, because its own `__init__` does: 3.5 MB
and 30 ms for what the server never uses. So the package stands here without the code of that `__init__`, which runs
as soon as somebody asks the package for something that is not there: nothing is missing, it only comes later. What the
server alone imports besides is told to come without what it never uses, in ways that its makers have provided for.

The garbage collector finds nothing among classes being defined and is off meanwhile.
"""

from __future__ import annotations

import gc
import mimetypes
import os
import sys
from importlib.util import find_spec
from types import ModuleType
from typing import Any, Final

_UNTOLD: Final = "unknown"  # aiohttp's version, in headers that are never sent
# frozenlist's name for its implementation without C++, whose library alone takes a megabyte; lists of signals use it.
_PLAIN_LISTS: Final = "FROZENLIST_NO_EXTENSIONS"


class _Later(ModuleType):
    """A package whose own code has not run yet."""

    def __getattr__(self, name: str) -> Any:
        spec = self.__spec__
        if name.startswith("__") or spec is None or spec.loader is None:
            raise AttributeError(name)
        self.__class__ = ModuleType  # type: ignore[assignment]  # from here on an ordinary one
        spec.loader.exec_module(self)
        return getattr(self, name)


def import_aiohttp() -> None:
    """Import aiohttp.web alone."""
    spec = find_spec("aiohttp") if "aiohttp" not in sys.modules else None
    if spec is None or spec.submodule_search_locations is None:
        return
    package = ModuleType("aiohttp")
    package.__spec__, package.__file__, package.__path__ = spec, spec.origin, spec.submodule_search_locations
    package.__dict__["__version__"] = _UNTOLD
    sys.modules["aiohttp"] = package
    mimetypes.knownfiles.clear()  # no file is served: the system's table of their types need not be read
    os.environ[_PLAIN_LISTS] = "1"
    try:
        import aiohttp.web  # noqa: F401 - for its effect on sys.modules
    finally:
        del os.environ[_PLAIN_LISTS]
    package.__class__ = _Later


gc.disable()
import_aiohttp()
