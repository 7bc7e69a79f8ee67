"""As many workers as this process may use cores, by the scheduler and by the container's quota."""

import os
from pathlib import Path

import pytest

from gateway.runtime.cores import usable


@pytest.mark.parametrize(
    ("quota", "cores"),
    [
        ("max 100000\n", 8),
        ("150000 100000\n", 2),
        ("10000 100000\n", 1),
        ("9900000 100000\n", 8),
        ("", 8),
        ("1 0", 8),
    ],
)
def test_the_quota_bounds_what_the_scheduler_gives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quota: str, cores: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    file = tmp_path / "cpu.max"
    file.write_text(quota)
    assert usable(file) == cores


def test_without_a_control_group_it_is_what_the_scheduler_gives(tmp_path: Path) -> None:
    assert usable(tmp_path / "none") == len(os.sched_getaffinity(0))
