"""How many connections are worth having, by how far the server is."""

import math

import pytest

from letsencrypt_tiny.client.distance import (FEW, MANY, NEAR, Distance, by_distance,
                                              connections)


@pytest.mark.parametrize("round_trip, tasks, expected", [
    (0.0, 1000, FEW), (NEAR, 20000, FEW),            # near, however many
    (0.1, 1, FEW), (0.1, 4, FEW), (0.1, 9, 9), (0.1, 50, MANY), (0.3, 5, 15),
    (0.021, 30, 6), (0.021, 1000, MANY), (30.0, 20000, MANY)])
def test_connections_grow_with_round_trip_and_tasks(round_trip: float, tasks: int, expected: int
                                                    ) -> None:
    assert connections(None, round_trip, tasks) == expected


@pytest.mark.parametrize("jobs", [1, 3, 64])
def test_what_is_set_is_what_there_may_be(jobs: int) -> None:
    assert {connections(jobs, seconds, 100) for seconds in (0.0, 0.001, 0.1, 10.0)} == {jobs}


def test_the_shortest_round_trip_counts_and_that_of_requests_most() -> None:
    """What is connected to may be near, as a proxy is, and the server behind it far."""
    distance = Distance()
    asked = by_distance(None, distance, 100)
    assert (distance.known, distance.round_trip, asked()) == (False, 0.0, FEW)
    for seconds in 0.2, 0.1, 0.3:
        distance.connected(seconds)
    assert (distance.known, distance.round_trip, asked()) == (True, 0.1, MANY)
    distance.connected(0.001)
    assert asked() == FEW
    for seconds in 0.4, 0.15, 0.2:
        distance.answered(seconds)
    assert math.isclose(distance.round_trip, 0.15) and asked() == MANY
    distance.answered(0.01)
    assert asked() == FEW
