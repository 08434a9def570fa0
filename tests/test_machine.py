"""A machine is slow if it has few cores or slow ones; the environment overrides the measurement."""

import time

import pytest

from samviz import lite, machine


@pytest.fixture(autouse=True)
def unset(monkeypatch):
    """Unset the environment variables, and forget the cached answer before and after."""
    monkeypatch.delenv("SAMVIZ_LITE", raising=False)
    monkeypatch.delenv("CPU_LIMIT", raising=False)
    lite.cache_clear()
    yield
    lite.cache_clear()


@pytest.mark.parametrize(
    ("cores", "speed", "slow"), [(2, 30_000, False), (64, 29_999, True), (1, 1e9, True), (1.5, 1e9, True)]
)
def test_few_cores_or_a_slow_one_make_a_slow_machine(monkeypatch, cores, speed, slow):
    speeds = iter([speed])  # measured once
    monkeypatch.setattr(machine, "cores", lambda: cores)
    monkeypatch.setattr(machine, "speed", lambda: next(speeds))
    assert [lite(), lite()] == [slow, slow]


def test_the_environment_overrides_the_measurement(monkeypatch):
    for name in ("cores", "speed"):
        monkeypatch.setattr(machine, name, lambda: pytest.fail("measured"))
    for value, slow in (("1", True), ("0", False)):
        monkeypatch.setenv("SAMVIZ_LITE", value)
        lite.cache_clear()
        assert lite() is slow
    monkeypatch.setenv("SAMVIZ_LITE", "yes")
    lite.cache_clear()
    with pytest.raises(ValueError, match="SAMVIZ_LITE is 'yes'; expected 1 or 0"):
        lite()


def test_a_hub_limits_the_number_of_cores(monkeypatch):
    here = machine.cores()
    for limit, cores in (("0.5", 0.5), ("1000", here)):
        monkeypatch.setenv("CPU_LIMIT", limit)
        assert machine.cores() == cores


def test_slower_steps_are_measured_as_slower(monkeypatch):
    def padded(count=100, steps=machine._steps):
        start = time.thread_time()
        steps(count)
        until = start + 5 * (time.thread_time() - start)
        while time.thread_time() < until:
            pass
        return count

    fast = machine.speed()
    monkeypatch.setattr(machine, "_steps", padded)
    assert machine.speed() < fast / 2
