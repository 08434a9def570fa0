"""Which machine is slow, and who has the last word."""

from __future__ import annotations

import time

import pytest

from samviz import lite, machine


@pytest.fixture(autouse=True)
def unasked(monkeypatch):
    """Nothing is said in the environment, and nothing remembered before or after."""
    monkeypatch.delenv("SAMVIZ_LITE", raising=False)
    monkeypatch.delenv("CPU_LIMIT", raising=False)
    lite.cache_clear()
    yield
    lite.cache_clear()


@pytest.mark.parametrize(
    ("cores", "speed", "slow"), [(2, 30_000, False), (64, 29_999, True), (1, 1e9, True), (1.5, 1e9, True)]
)
def test_few_cores_or_a_slow_one_make_a_slow_machine(monkeypatch, cores, speed, slow):
    monkeypatch.setattr(machine, "cores", lambda: cores)
    monkeypatch.setattr(machine, "speed", lambda: speed)
    assert lite() is slow


@pytest.mark.parametrize(("said", "slow"), [("1", True), ("0", False)])
def test_the_environment_has_the_last_word_and_nothing_is_measured(monkeypatch, said, slow):
    monkeypatch.setenv("SAMVIZ_LITE", said)
    monkeypatch.setattr(machine, "cores", lambda: pytest.fail("measured"))
    monkeypatch.setattr(machine, "speed", lambda: pytest.fail("measured"))
    assert lite() is slow


def test_another_word_is_refused(monkeypatch):
    monkeypatch.setenv("SAMVIZ_LITE", "yes")
    with pytest.raises(ValueError, match="SAMVIZ_LITE is 'yes'; expected 1 or 0"):
        lite()


def test_it_is_measured_once(monkeypatch):
    speeds = iter([1e9])
    monkeypatch.setattr(machine, "cores", lambda: 2)
    monkeypatch.setattr(machine, "speed", lambda: next(speeds))
    assert [lite(), lite()] == [False, False]


def test_a_hub_says_how_many_cores_it_grants(monkeypatch):
    here = machine.cores()
    monkeypatch.setenv("CPU_LIMIT", "0.5")
    assert machine.cores() == 0.5
    monkeypatch.setenv("CPU_LIMIT", "1000")
    assert machine.cores() == here


def test_slower_steps_are_seen_as_slower(monkeypatch):
    def padded(count=100, steps=machine._steps):
        began = time.thread_time()
        steps(count)
        until = began + 5 * (time.thread_time() - began)
        while time.thread_time() < until:
            pass
        return count

    fast = machine.speed()
    monkeypatch.setattr(machine, "_steps", padded)
    assert machine.speed() < fast / 2
