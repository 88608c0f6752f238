"""The entry of `redeo` and of `python -m proxy`: pins the sibling packages, then hands over to `proxy.cli`.

`config` and `admin_api` are common names: a folder of that name elsewhere on the path (PYTHONPATH, the working
folder under `-m`) must not be taken for ours, so both are found beside this package before any path is read.
"""

import sys
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path

HOME = Path(__file__).resolve().parent.parent
SOURCES = {name: HOME / name / "__init__.py" for name in ("config", "admin_api")}


class Siblings:
    """A finder that knows the two names, and loads neither before somebody imports it."""

    @staticmethod
    def find_spec(name: str, _path: object = None, _target: object = None) -> ModuleSpec | None:
        """The spec of a sibling; None for every other module."""
        if name not in SOURCES:
            return None
        return spec_from_file_location(name, SOURCES[name], submodule_search_locations=[str(HOME / name)])


def main() -> int:
    """Runs the command line of this process; returns its exit code (0 done, 1 a fault, 2 wrong usage)."""
    for name, source in SOURCES.items():
        found = getattr(sys.modules.get(name), "__file__", None) or (name in sys.modules and "a folder without code")
        if not source.is_file() or (found and Path(found).resolve() != source):
            sys.exit(f"redeo: {name!r} must be {source.parent}, but is {found or 'missing'}: install with pipx")
    if sys.flags.no_site and str(HOME) not in sys.path:
        sys.path.append(str(HOME))  # under -S nobody else adds it: systemd/examples/isolated.conf
    sys.meta_path.insert(0, Siblings)
    from proxy.cli import main as run

    return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
