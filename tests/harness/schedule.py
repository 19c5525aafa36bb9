"""When runs begin, by the timer and the cron job that are shipped: for simulations."""

import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from letsencrypt_tiny.common.clock import DAY

TREE = Path(__file__).resolve().parents[2]
TIMER = (TREE / "debian/letsencrypt-tiny.timer").read_text()
CRON = (TREE / "debian/letsencrypt-tiny.cron.d").read_text()
HOUR, MINUTE = 3600, 60


class Schedule(NamedTuple):
    """When runs begin."""

    hours: list[int]     # of the day, local time
    delay: int           # seconds: the most that is added
    fixed: bool          # the same each time
    accuracy: int = 0    # seconds: what else may be added each time


def timer(text: str) -> Schedule:
    """Read a timer unit (systemd.timer(5)); AccuracySec= is a minute unless set."""
    settings = dict(re.findall(r"^(\w+)=(.*)$", text, re.M))
    calendar = re.fullmatch(r"\*-\*-\* ([0-9,]+):00:00", settings["OnCalendar"])
    delay = re.fullmatch(r"(\d+)h", settings["RandomizedDelaySec"])
    assert calendar and delay and "AccuracySec" not in settings
    return Schedule([int(hour) for hour in calendar.group(1).split(",")],
                    int(delay.group(1)) * HOUR, settings.get("FixedRandomDelay") == "yes", MINUTE)


def cron(text: str) -> Schedule:
    """Read the cron job; what it waits depends on the host alone."""
    found = re.search(r"^\d+ ([0-9,]+) \* \* \* root .*sleep \$\(\( .*cksum.* \\% (\d+) \)\);",
                      text, re.M)
    assert found
    return Schedule([int(hour) for hour in found.group(1).split(",")], int(found.group(2)), True)


def runs(schedule: Schedule, host: random.Random, years: int) -> Iterator[float]:
    """Yield the moments of some years in a country with summer time."""
    own = host.uniform(0, schedule.delay)
    for day in range(years * 365):
        for hour in schedule.hours:
            moment = day * DAY + hour * HOUR
            if 87 * DAY + HOUR < moment % (365 * DAY) < 301 * DAY + HOUR:
                moment -= HOUR
            moment += own if schedule.fixed else host.uniform(0, schedule.delay)
            yield moment + host.uniform(0, schedule.accuracy)
