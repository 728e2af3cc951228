"""What depends on progress alone."""

import time

import pytest

from mmssl.schedule import Clock, rate


def test_the_rate_rises_then_falls_to_nothing():
    shares = [k / 1000 for k in range(1001)]
    rates = [rate(share, peak=2.0, warmup=0.1) for share in shares]
    top = rates.index(max(rates))
    assert shares[top] == pytest.approx(0.1)
    assert max(rates) == pytest.approx(2.0)
    assert rates[:top] == sorted(rates[:top])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert rates[-1] == pytest.approx(0, abs=1e-9)


def test_no_warmup_begins_at_the_peak():
    assert rate(0.0, peak=3.0, warmup=0.0) == 3.0


def test_steps_are_counted_and_every_one_of_them_has_a_rate():
    clock = Clock(steps=10, seconds=None, began=time.monotonic())
    shares = [clock.share(step) for step in range(11)]
    assert shares[:10] == [pytest.approx((k + 0.5) / 10) for k in range(10)]
    assert shares[10] == 1
    assert all(rate(share, peak=1.0, warmup=0.1) > 0 for share in shares[:10])


def test_a_run_by_the_clock_ends_in_time_for_its_last_validation(monkeypatch):
    """A step takes 1 s and a validation 7 s; of 60 s, 53 are for steps, and none is begun that would end later."""
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    clock = Clock(steps=None, seconds=60.0, began=0.0)
    assert clock.unknown_end
    shares = []
    while clock.share(len(shares)) < 1:
        shares.append(clock.reached)
        now += 1.0
        if clock.unknown_end:
            now += 7.0
            clock.reserve = 7.0
    assert now + clock.reserve <= 60
    assert now + 1 + clock.reserve >= 60
    assert shares == sorted(shares)


def test_the_clock_counts_what_earlier_commands_spent():
    clock = Clock(steps=None, seconds=100.0, began=time.monotonic() - 10, before=40.0)
    assert clock.share(3) == pytest.approx(0.5, abs=0.02)
    clock.before = 200.0
    assert clock.share(3) == 1.0
