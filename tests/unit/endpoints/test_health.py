"""A gateway is ready where nothing keeps it from taking work, and says what does."""

import json
from typing import Any

import pytest

from gateway.endpoints.health import alive, readiness
from gateway.http.own_response import OwnResponse
from gateway.telemetry.health import Health, Workers


def reported(response: OwnResponse) -> Any:
    assert (b"Cache-Control", b"no-store") in response.headers
    return json.loads(response.body)


def test_one_that_has_everything_is_ready() -> None:
    response = readiness(Health(2))
    assert (response.status, reported(response)["status"]) == (200, "ready")
    assert reported(alive()) == {"status": "ok"}


@pytest.mark.parametrize(
    ("health", "check"),
    [
        (Health(1, has_keys=False), "keys"),
        (Health(1, is_draining=True), "draining"),
    ],
)
def test_one_that_misses_something_is_not_ready_and_says_what(health: Health, check: str) -> None:
    response = readiness(health)
    body = reported(response)
    assert (response.status, body["status"]) == (503, "not_ready")
    assert [name for name, each in body["checks"].items() if not each["ok"]] == [check]


def test_without_the_upstreams_of_one_route_the_others_are_served() -> None:
    response = readiness(Health(3, routes_without=("/a",), routes_degraded=("/b",)))
    assert (response.status, reported(response)["checks"]["upstreams"]) == (
        200,
        {
            "ok": False,
            "routes_without": ["/a"],
            "routes_degraded": ["/b"],
            "required_without": [],
        },
    )


def test_without_the_upstreams_of_a_required_route_it_is_not_ready() -> None:
    response = readiness(Health(2, routes_without=("/a",), required_without=("/a",)))
    assert (response.status, reported(response)["status"]) == (503, "not_ready")
    assert reported(response)["checks"]["upstreams"]["required_without"] == ["/a"]


def test_a_file_with_faults_is_reported_and_changes_nothing() -> None:
    response = readiness(Health(1, faults=2))
    assert response.status == 200
    assert reported(response)["checks"]["reload"] == {"ok": False, "faults": 2}
    assert "reload" not in reported(readiness(Health(1)))["checks"]


def test_several_are_ready_only_where_all_are() -> None:
    ready = Health(2, streams=3, faults=0)
    down = Health(2, routes_without=("/a", "/b"), required_without=("/b",), streams=4)
    keyless = Health(1, routes_without=("/b", "/c"), routes_degraded=("/d",), has_keys=False)
    assert Health.merged([ready, ready]).is_ready
    merged = Health.merged([ready, down, keyless])
    assert merged == Health(1, False, ("/a", "/b", "/c"), ("/d",), ("/b",), False, 7, 0)
    assert not Health.merged([ready, down]).is_ready
    assert Health.merged([ready, Health(2, is_draining=True)]).is_draining


@pytest.mark.parametrize(
    ("workers", "is_ready", "is_whole"),
    [
        (Workers(2, 2, 0), True, True),
        (Workers(1, 2, 0), True, False),  # the other one takes what comes
        (Workers(1, 2, 1), False, False),
        (Workers(0, 2, 0), False, False),
    ],
)
def test_workers_are_to_answer_and_may_be_away(
    workers: Workers, *, is_ready: bool, is_whole: bool
) -> None:
    health = Health.merged([Health(1, workers=workers), Health(1)])
    assert health.is_ready is is_ready
    expected = {"ok": is_whole, "ready": workers.ready, "wanted": 2}
    assert health.checks()["workers"] == expected
