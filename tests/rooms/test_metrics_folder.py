"""Where workers count: gone at the end, and what others have left is taken away unless somebody uses it."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

import pytest

from proxy.metrics_folder import metrics_folder


def test_it_is_there_for_its_block_alone(tmp_path: Path) -> None:
    with metrics_folder(tmp_path) as folder:
        assert os.stat(folder).st_mode & 0o777 == 0o700
        (Path(folder) / "counter_1.db").write_bytes(b"1")
        with metrics_folder(tmp_path) as other:
            assert sorted(os.listdir(tmp_path)) == sorted([os.path.basename(folder), os.path.basename(other)])
    assert os.listdir(tmp_path) == []


def test_what_was_left_is_taken_away_and_nothing_else(tmp_path: Path) -> None:
    for name, age in (("redeo-metrics-1-new", 0), ("redeo-metrics-1-old", 3600)):
        (tmp_path / name).mkdir()
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    for name in ("redeo-metrics-1-left", "redeo-other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "counter_1.db").write_bytes(b"1")
    (tmp_path / "redeo-metrics-1-link").symlink_to(tmp_path / "redeo-other")
    with metrics_folder(tmp_path):
        kept = {name for name in os.listdir(tmp_path) if str(os.getpid()) not in name}
        assert kept == {"redeo-other", "redeo-metrics-1-link", "redeo-metrics-1-new"}
    assert os.listdir(tmp_path / "redeo-other") == ["counter_1.db"]


def test_without_such_memory_it_lies_among_the_temporary_files(tmp_path: Path) -> None:
    with metrics_folder(tmp_path / "none") as folder:
        assert os.path.isdir(folder)
    assert not os.path.exists(folder)


def test_where_such_memory_is_full_it_lies_among_the_temporary_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.metrics_folder._ROOM", 1 << 62)
    with metrics_folder(tmp_path) as folder:
        assert Path(folder).parent == Path(tempfile.gettempdir())
    assert not Path(folder).exists()
