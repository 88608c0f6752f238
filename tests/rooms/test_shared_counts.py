"""What workers count comes to the same as what one process counts for itself, whenever it is written down."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

# The library decides when it is imported whether numbers go to files, so this has a process of its own.
COUNTING = """
import random
from proxy.observe import series
from proxy.observe.registry import open_registry
from proxy.observe.series import Tally

later = []
registry = open_registry(lambda seconds, call: later.append(call))
shared, tally, drawn = registry.shared, Tally(), random.Random(int({seed}))
for turn in range(400):
    for counts in (shared, tally):
        drawn.seed(turn + {seed} * 1000)
        operation = drawn.choice(["chat", "messages"])
        counts.add(1, (series.REQUESTS, operation, drawn.choice(["200", "502"])))
        counts.add(drawn.choice([1, -1]), (series.IN_FLIGHT,))
        counts.observe(drawn.choice([0.0, 0.05, 0.051, 3.7, 600, 601]), (series.DURATION, operation))
        counts.observe(drawn.random() / 100, (series.OVERHEAD,))
    if drawn.random() < 0.2:
        for call in later:
            call()
        later.clear()
assert len(later) <= 1, "one call is enough for all that is counted until then"
shared.flush()
numbers = {{}}
for line in registry.render(Tally(), {{}}).decode().splitlines():
    if not line.startswith("#"):
        name, _, value = line.rpartition(" ")
        numbers[name] = float(value)


def labelled(name, key, **more):
    labels = dict(sorted((dict(zip(key[0].labels, key[1:])) | more).items()))
    return name + ("{{" + ",".join(f'{{k}}="{{v}}"' for k, v in labels.items()) + "}}" if labels else "")


for key, number in tally.numbers.items():
    if key[0] is not series.RELOAD_OK and number:
        name = key[0].name + ("_total" if key[0].mode is None else "")
        assert numbers[labelled(name, key)] == number, (key[0].name, key[1:])
for key, kept in tally.histograms.items():
    name, below = key[0].name, 0
    assert abs(numbers[labelled(name + "_sum", key)] - kept.total) < 1e-6
    assert numbers[labelled(name + "_count", key)] == sum(kept.counts)
    for bound, count in zip((*kept.bounds, float("inf")), kept.counts):
        below += count
        text = "+Inf" if bound == float("inf") else str(float(bound))
        assert numbers[labelled(name + "_bucket", key, le=text)] == below, (name, bound)
print("alike", len(numbers))
"""


@pytest.mark.parametrize("seed", range(3))
def test_many_numbers_at_once_are_those_numbers(tmp_path: Path, seed: int) -> None:
    env = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", COUNTING.format(seed=seed)], env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("alike ")
