"""`python -m config.catalogue`: the built-in providers as a page of documentation, docs/providers.md.

Owns how the page looks; what it says comes from the rows.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable

from config.catalogue import compiled, load
from config.model import Credential, ProviderSpec, StreamUsage

_INTRODUCTION = """\
# Which providers are built in?

<!-- Written by `python -m config.catalogue > docs/providers.md`; change config/catalogue/providers.yaml instead. -->

Any other that speaks OpenAI's or Anthropic's dialect is added in `redeo.yaml`, and any of these can be changed there:
[How do I add a provider?](add-a-provider.md)

**Key** names the variable in which `redeo providers import-env` looks for it. **Endpoint**: what a connection may, or
must, bring as `--endpoint`. **Speaks**: the operations that are passed on as they are; what is missing here is missing
at the provider or in its documentation."""

_KEYS = {
    Credential.API_KEY: "needed",
    Credential.OPTIONAL: "optional",
    Credential.SERVICE_ACCOUNT: "service account",
    Credential.NONE: "none",
}
_USAGE = {
    StreamUsage.ASKED: "asked for",
    StreamUsage.ALWAYS: "there anyhow",
    StreamUsage.NEVER: "not asked for",
}


def page() -> str:
    """The whole page as Markdown, without a line end behind it."""
    specs = list(load().values())
    usable = [spec for spec in specs if spec.unsupported is None]
    refused = [spec for spec in specs if spec.unsupported is not None]
    parts = [
        _INTRODUCTION,
        _table(("id", "provider", "key", "endpoint", "speaks", "default model"), map(_overview, usable)),
        "## Known, and refused\n\n" + "\n".join(f"- `{spec.id}`: {spec.unsupported}." for spec in refused),
        "## Where each is, and who says so\n\n"
        "Usage in streams: whether `stream_options.include_usage` is asked for, where `routing.ask_usage` is on.",
        _table(("id", "base URL", "usage in streams", "sources"), map(_address, specs)),
    ]
    return "\n\n".join(parts)


def _table(head: Iterable[str], rows: Iterable[tuple[str, ...]]) -> str:
    titles = list(head)
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _overview(spec: ProviderSpec) -> tuple[str, ...]:
    key = ", ".join(["key " + _KEYS[spec.credential], *(f"`{name}`" for name in spec.env)]).removeprefix("key ")
    endpoint = "may" if spec.base_url else "must"
    hint = f"{endpoint}, such as `{spec.endpoint_hint}`" if spec.supports_endpoint else "–"
    model = f"`{spec.default_model}`" if spec.default_model else "–"
    return f"`{spec.id}`", spec.label, key, hint, ", ".join(spec.speaks), model


def _address(spec: ProviderSpec) -> tuple[str, ...]:
    base = f"`{spec.base_url}`" if spec.base_url else f"the endpoint + `{spec.endpoint_suffix}`"
    sources = ", ".join(f"[{number}]({url})" for number, url in enumerate(spec.docs, 1))
    return f"`{spec.id}`", base, _USAGE[spec.quirks.stream_usage], sources


if __name__ == "__main__":
    if sys.argv[1:] == ["--json"]:
        sys.stdout.buffer.write(compiled())
    else:
        print(page())
