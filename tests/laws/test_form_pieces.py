"""Forms that pass in pieces are counted as a reader of the whole would."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from proxy.dialects.multipart import Models

KIND = "multipart/form-data; boundary=B-"
NAMES = st.sampled_from([b"model", b"file", b"models", b"Model", b""])
CONTENTS = st.binary(max_size=8) | st.sampled_from([b"", b"\r\n", b"\r\n--", b"--B-", b"\r\n-", b'name="model"'])


@given(st.lists(st.tuples(NAMES, CONTENTS), max_size=6), st.lists(st.integers(0, 600), max_size=12), st.booleans())
def test_models_are_counted_at_every_split(parts: list[tuple[bytes, bytes]], cuts: list[int], bare: bool) -> None:
    quote = b"" if bare else b'"'
    head = b"--B-\r\nContent-Disposition: form-data; name=%b%b%b\r\n\r\n%b\r\n"
    form = b"".join(head % (quote, name, quote, content) for name, content in parts) + b"--B---\r\n"
    models, at = Models(KIND), 0
    for cut in [*sorted(cut % (len(form) + 1) for cut in cuts), len(form)]:
        models.see(form[at:cut])
        at = cut
    assert models.see(b"") == sum(name == b"model" for name, _ in parts)
