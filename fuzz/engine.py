"""One target under atheris, in a process of its own: `python -m fuzz.engine TARGET [libFuzzer's options] FOLDERS`.

Atheris: coverage of Python code for libFuzzer. Only the daemon's own packages are instrumented.
"""

from __future__ import annotations

import importlib
import sys

PACKAGES = ["proxy", "config", "admin_api"]


def main() -> None:
    """Run until libFuzzer's own limits end it; a finding ends it at once, with the input in a file."""
    atheris = importlib.import_module("atheris")  # of the extra `fuzz`
    name, *options = sys.argv[1:]
    with atheris.instrument_imports(include=PACKAGES, enable_loader_override=False):
        targets = importlib.import_module("fuzz.targets")
    atheris.Setup([sys.argv[0], *options], targets.TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
