"""The example configuration is true: it passes the check, and it is the default."""

from __future__ import annotations

from pathlib import Path

from config.document import parse
from config.model import Settings
from config.schema import read

EXAMPLE = Path(__file__).resolve().parents[2] / "redeo.example.yaml"


def test_the_example_is_the_default() -> None:
    settings, providers = read(parse(EXAMPLE.read_bytes(), str(EXAMPLE)), str(EXAMPLE))
    assert settings == Settings(models={}, routing=settings.routing)
    assert settings.routing == Settings().routing
    assert not any(spec.from_file for spec in providers.values())


def test_what_it_only_shows_is_valid_too() -> None:
    shown = EXAMPLE.read_text().replace("providers: {}", "providers:").replace("models: {} ", "models:")
    lines = [line.replace("#  ", "  ", 1) if line.startswith("#  ") else line for line in shown.splitlines()]
    text = "\n".join(lines).encode()
    settings, providers = read(parse(text, "example"), "example")
    assert providers["lab-vllm"].from_file
    assert settings.models["smart"][0].provider == "anthropic"
