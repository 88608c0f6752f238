"""What is fuzzed. A target takes any bytes; it returns where what came of them is right and raises where it is not.

Each is a plain function without a fuzzer in it: tests/rooms/test_fuzz_targets.py runs all of them over their seeds.
"""

from __future__ import annotations

from collections.abc import Callable

from fuzz.targets import bodies, dialects, doors, errors, settings, streams

Target = Callable[[bytes], None]

TARGETS: dict[str, Target] = {
    "sse": streams.sse,
    "aws-events": streams.amazon,
    "scanners": streams.scanners,
    "classifier": errors.classifier,
    "retry-after": errors.retry,
    "yaml": settings.strict_yaml,
    "files": settings.files,
    "splice": bodies.splice_target,
    "multipart": bodies.multipart_form,
    "admin-body": bodies.admin_body,
    "host": doors.host,
    "guard": doors.guard,
    "requests": dialects.requests,
    "answers": dialects.answers,
    "parsers": dialects.parsers,
}
