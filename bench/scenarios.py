"""All scenarios, in the order in which they are run."""

from bench import bursts, churn, idle, requests, slow_reader, start, steady, transfers
from bench.peers import GATEWAYS
from bench.stage import Scenario

SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        Scenario(
            "steady-100",
            "100 streams, 100 events/s each",
            steady.FIGURES,
            steady.Steady(100, 100),
        ),
        Scenario(
            "steady-1000",
            "1,000 streams, 10 events/s each",
            steady.FIGURES,
            steady.Steady(1000, 10),
        ),
        Scenario(
            "bursts",
            f"{bursts.STREAMS} streams, bursts of {bursts.BURST:,} events, as fast as they pass",
            bursts.FIGURES,
            bursts.measure,
        ),
        Scenario(
            "idle-5000",
            f"{idle.STREAMS:,} streams with one event each, then silence",
            idle.FIGURES,
            idle.measure,
            rounds=2,  # memory hardly differs from one to the next
            has_direct=False,
        ),
        Scenario(
            "json",
            f"small JSON by wrk, {requests.CONNECTIONS} connections that are kept",
            requests.FIGURES,
            requests.measure,
        ),
        Scenario(
            "json-token",
            "the same with a Bearer token to verify, which only the gateway does",
            requests.TOKEN_FIGURES,
            requests.measure_token,
            only=GATEWAYS,
            has_direct=False,
        ),
        Scenario(
            "churn",
            f"{churn.AT_A_TIME} browsers at a time that take {churn.EVENTS} events and leave",
            churn.FIGURES,
            churn.measure,
        ),
        Scenario(
            "slow-reader",
            f"{slow_reader.STREAMS} streams beside one that floods a browser which reads nothing",
            slow_reader.FIGURES,
            slow_reader.measure,
            rounds=3,
        ),
        Scenario("download", "one large file", transfers.FIGURES, transfers.download, rounds=3),
        Scenario("upload", "one large body", transfers.FIGURES, transfers.upload, rounds=3),
        Scenario(
            "start",
            "from exec to the first answer through it",
            start.FIGURES,
            start.measure,
            has_direct=False,
        ),
    )
}
