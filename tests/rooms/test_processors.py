"""How many processors there are to use, by what the kernel says of the own cgroup and those around it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from proxy.processors import usable

HERE = len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("around", "inner", "most"),
    [
        ("max 100000", "max 100000", HERE),
        ("max 100000", "100000 100000", 1),
        ("50000 100000", "max 100000", 1),
        ("150000 100000", "9900000 100000", min(HERE, 2)),
        ("100000 0", "nonsense", HERE),
        (None, None, HERE),
    ],
)
def test_the_least_that_is_allowed_counts(tmp_path: Path, around: str | None, inner: str | None, most: int) -> None:
    own, group = tmp_path / "own", tmp_path / "groups" / "user.slice" / "redeo.service"
    own.write_text("1:name=systemd:/elsewhere\n0::/user.slice/redeo.service\n")
    group.mkdir(parents=True)
    for folder, text in ((group.parent, around), (group, inner)):
        if text is not None:
            (folder / "cpu.max").write_text(text + "\n")
    assert usable(tmp_path / "groups", own) == most


def test_without_cgroups_those_it_may_run_on_count(tmp_path: Path) -> None:
    assert usable(tmp_path / "none", tmp_path / "nowhere") == HERE
