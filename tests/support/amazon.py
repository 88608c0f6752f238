"""Amazon's own model of its service, as botocore has it: what bodies and events of Converse may hold."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from botocore.loaders import Loader
from botocore.model import ServiceModel


@cache
def service() -> ServiceModel:
    return ServiceModel(Loader().load_service_model("bedrock-runtime", "service-2"))


def amazons(value: Any, shape: Any, at: str = "") -> Any:
    """The body as AWS's library takes it, bytes where JSON has base64. Fails on fields, words and letters unknown."""
    if shape.type_name == "structure" and not getattr(shape, "is_document_type", False):
        unknown = set(value) - set(shape.members)
        assert not unknown, f"{at}: unknown {unknown}"
        assert not shape.metadata.get("union") or len(value) == 1, f"{at}: one of a union, not {list(value)}"
        return {k: amazons(v, shape.members[k], f"{at}.{k}") for k, v in value.items()}
    if shape.type_name == "list":
        return [amazons(item, shape.member, f"{at}[{n}]") for n, item in enumerate(value)]
    if shape.type_name == "map":
        pairs = {amazons(k, shape.key, at): amazons(v, shape.value, f"{at}.{k}") for k, v in value.items()}
        assert len(pairs) <= shape.metadata.get("max", len(pairs))
        return pairs
    if shape.type_name == "string":
        words, pattern = shape.metadata.get("enum"), shape.metadata.get("pattern")
        assert not words or value in words, f"{at}: {value}"
        assert not pattern or re.fullmatch(pattern, value), f"{at}: {value}"
        assert len(value) <= shape.metadata.get("max", len(value)), f"{at}: {value}"
    if shape.type_name == "blob":  # the recordings shorten long ones: `...`
        assert re.fullmatch(r"[A-Za-z0-9+/.]+=*", value), f"{at}: {value[:40]}"
        return value.encode()
    return value
