"""The catalogue that is read at the start says what its source says."""

from __future__ import annotations

from pathlib import Path

import config.catalogue


def test_providers_json_is_made_from_providers_yaml() -> None:
    found = Path(config.catalogue.__file__).with_name("providers.json").read_bytes()
    assert found == config.catalogue.compiled(), (
        "run: python -m config.catalogue --json > config/catalogue/providers.json"
    )
