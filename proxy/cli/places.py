"""Where this command line's daemon, files and key are: the one place where commands meet `config`.

Nothing here makes or changes a file.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from config.errors import ConfigError, FileFault

from .address import Address
from .options import ServeOptions
from .output import CommandError

if TYPE_CHECKING:
    from config.model import ProviderSpec, Settings
    from config.paths import Paths

    from .client import Daemon


def paths_of(options: ServeOptions) -> Paths:
    """The files that the options and the environment name."""
    from config.paths import Paths

    return Paths.resolve(config=options.config, state_dir=options.state_dir, env=os.environ)


def settings_of(options: ServeOptions) -> tuple[Settings, Mapping[str, ProviderSpec]]:
    """redeo.yaml, and the catalogue with what it changes. ConfigError: it has faults, or cannot be read."""
    from config.document import parse
    from config.schema import read

    file = paths_of(options).config_file
    try:
        text = file.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        text = b""
    except OSError as error:
        raise ConfigError([FileFault(str(file), 1, f"cannot be read: {error.strerror}")]) from None
    return read(parse(text, str(file)), str(file))


def provider_specs(options: ServeOptions) -> Mapping[str, ProviderSpec]:
    """Every provider by id. ConfigError: redeo.yaml has faults."""
    return settings_of(options)[1]


def daemon_address(options: ServeOptions) -> Address:
    """Where the daemon is, without asking whether it runs. CommandError (usage), ConfigError."""
    return Address.parse(options.listen or os.environ.get("REDEO_LISTEN") or settings_of(options)[0].listen)


def api_key(options: ServeOptions) -> str:
    """The daemon's own API key. CommandError: there is no state yet. UnsafeState: no key in it, or not ours alone."""
    from config.daemon_key import daemon_key

    paths = paths_of(options)
    given = os.environ.get("REDEO_API_KEY") or os.environ.get("CREDENTIALS_DIRECTORY")
    if not given and not paths.state_dir.exists():
        raise CommandError(
            f"there is no API key yet: `redeo serve` makes one in {paths.state_dir} at its first start "
            "(another daemon's: --state-dir or REDEO_API_KEY)"
        )
    return daemon_key(paths, os.environ, make=False)


def daemon_for(options: ServeOptions) -> Daemon:
    """The running daemon with its key."""
    from .client import Daemon

    return Daemon(daemon_address(options), api_key(options))
