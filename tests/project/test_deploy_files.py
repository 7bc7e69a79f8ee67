"""What stands in deploy/ is read by what it is for, and names nothing that the gateway has not."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import promql_parser
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from gateway.config.loader import load
from gateway.telemetry.counters import Counters
from gateway.telemetry.prometheus import Snapshot

DEPLOY = Path(__file__).parents[2] / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
NOT_MANIFESTS = {"kustomization.yaml", "adapter-rule.yaml"}
MANIFESTS = sorted(file for file in KUBERNETES.glob("*.yaml") if file.name not in NOT_MANIFESTS)
DASHBOARD = json.loads((DEPLOY / "grafana" / "gateway.json").read_text())
ALERTS = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yaml").read_text())
ADAPTER = yaml.safe_load((KUBERNETES / "adapter-rule.yaml").read_text())
COMPOSE = yaml.safe_load((DEPLOY / "compose" / "compose.yaml").read_text())
SCRAPES = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yaml").read_text())
CLOSING = 9  # seconds that an end takes beside the drain's delay and timeout


def documents(file: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(file.read_text()))


def manifest(kind: str, name: str = "") -> dict[str, Any]:
    """The one object of a kind, and of a name where there are several."""
    [found] = [
        each
        for file in MANIFESTS
        for each in documents(file)
        if each["kind"] == kind and name in {"", each["metadata"]["name"]}
    ]
    return found


POD = manifest("Deployment")["spec"]["template"]
CONTAINER = POD["spec"]["containers"][0]
VARIABLES = {each["name"]: each.get("value") for each in CONTAINER["env"]}


def seconds(duration: str) -> int:
    assert duration.endswith("s")
    return int(duration[:-1])


# Kubernetes


@pytest.mark.parametrize("file", MANIFESTS, ids=lambda file: file.name)
def test_a_manifest_is_what_kubernetes_takes(file: Path) -> None:
    for each in documents(file):
        kubernetes_validate.validate(each, kubernetes_validate.latest_version(), strict=True)


def test_all_manifests_are_applied_together() -> None:
    applied = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text())["resources"]
    assert set(applied) == {file.name for file in MANIFESTS}


def test_all_that_selects_pods_selects_the_gateways() -> None:
    labels = POD["metadata"]["labels"]
    selectors = [
        manifest("Deployment")["spec"]["selector"]["matchLabels"],
        manifest("Service", "gateway")["spec"]["selector"],
        manifest("Service", "gateway-ops")["spec"]["selector"],
        manifest("PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        manifest("NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
        *[
            each["labelSelector"]["matchLabels"]
            for each in POD["spec"]["topologySpreadConstraints"]
        ],
    ]
    assert all(selector == labels for selector in selectors)


def test_ports_are_named_alike_and_are_those_of_the_gateway() -> None:
    ports = {port["name"]: port["containerPort"] for port in CONTAINER["ports"]}
    assert ports == {"http": 8080, "ops": 9090}
    targets = [
        port["targetPort"]
        for name in ("gateway", "gateway-ops")
        for port in manifest("Service", name)["spec"]["ports"]
    ]
    probes = [CONTAINER[f"{each}Probe"]["httpGet"] for each in ("startup", "readiness", "liveness")]
    allowed = [
        port["port"]
        for rule in manifest("NetworkPolicy")["spec"]["ingress"]
        for port in rule["ports"]
    ]
    assert {*targets, *allowed, *(probe["port"] for probe in probes)} == set(ports)
    assert [probe["path"] for probe in probes] == ["/healthz", "/readyz", "/healthz"]


def test_a_pod_gets_the_time_that_its_end_takes() -> None:
    drain = seconds(VARIABLES["GATEWAY_DRAIN_DELAY"]) + seconds(VARIABLES["GATEWAY_DRAIN_TIMEOUT"])
    assert POD["spec"]["terminationGracePeriodSeconds"] >= drain + CLOSING


def test_the_routes_are_mounted_as_a_directory_that_can_change() -> None:
    [mount] = CONTAINER["volumeMounts"]
    [volume] = POD["spec"]["volumes"]
    assert (mount["name"], mount["mountPath"]) == (volume["name"], "/etc/gateway")
    assert "subPath" not in mount
    assert volume["configMap"]["name"] == manifest("ConfigMap")["metadata"]["name"]


def test_the_routes_of_the_configmap_have_no_fault(tmp_path: Path) -> None:
    [(name, text)] = manifest("ConfigMap")["data"].items()
    file = tmp_path / name
    file.write_text(text)
    assert load(file, {"GATEWAY_JWT_SECRET": "x" * 32}).routes


def test_the_autoscaler_scales_by_a_metric_that_the_adapter_makes() -> None:
    pods = [
        each for each in manifest("HorizontalPodAutoscaler")["spec"]["metrics"] if "pods" in each
    ]
    made = [rule["name"]["as"] for rule in ADAPTER["rules"]["custom"]]
    assert [each["pods"]["metric"]["name"] for each in pods] == made


# Compose


def test_the_gateways_of_compose_serve_routes_without_a_fault() -> None:
    file = DEPLOY / "compose" / "routes.yaml"
    config = load(file, None)
    assert any(route.limits.max_streams_per_user for route in config.routes)
    needed = set(re.findall(r"\$\{?(\w+)", yaml.safe_dump(yaml.safe_load(file.read_text()))))
    assert "REDIS_URL" in needed
    assert needed <= COMPOSE["services"]["gateway-1"]["environment"].keys()


def test_compose_mounts_files_that_are_there() -> None:
    mounted = [
        volume.split(":")[0]
        for service in COMPOSE["services"].values()
        for volume in service.get("volumes", [])
        if volume.startswith("./")
    ]
    assert mounted
    assert all((DEPLOY / "compose" / each).is_file() for each in mounted)
    builds = {service["build"] for service in COMPOSE["services"].values() if "build" in service}
    assert all((DEPLOY / "compose" / each / "Dockerfile").is_file() for each in builds)


@pytest.mark.parametrize("name", ["gateway-1", "gateway-2"])
def test_a_gateway_of_compose_gets_the_time_that_its_end_takes(name: str) -> None:
    service = COMPOSE["services"][name]
    reported = service["environment"]
    drain = seconds(reported["GATEWAY_DRAIN_DELAY"]) + seconds(reported["GATEWAY_DRAIN_TIMEOUT"])
    assert seconds(service["stop_grace_period"]) >= drain + CLOSING


def test_the_front_of_compose_knows_the_gateways() -> None:
    caddyfile = (DEPLOY / "compose" / "Caddyfile").read_text()
    gateways = [name for name in COMPOSE["services"] if name.startswith("gateway-")]
    assert re.findall(r"(\S+):8080", caddyfile) == gateways
    assert "health_uri /readyz" in caddyfile
    assert "health_port 9090" in caddyfile
    targets = SCRAPES["scrape_configs"][0]["static_configs"][0]["targets"]
    assert targets == [f"{name}:9090" for name in gateways]


def test_the_front_of_compose_ends_a_job_whose_browser_has_left() -> None:
    """With flush_interval -1 Caddy 2.6 does not. A newer one does either way."""
    caddyfile = (DEPLOY / "compose" / "Caddyfile").read_text()
    assert "flush_interval" not in re.sub(r"#.*", "", caddyfile)


def test_the_front_of_compose_is_what_caddy_takes(tmp_path: Path) -> None:
    caddy = Path(sys.executable).parent / "caddy"
    file = DEPLOY / "compose" / "Caddyfile"
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "SITE": "localhost"}
    command = [str(caddy), "validate", "--adapter", "caddyfile", "--config", str(file)]
    result = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert result.returncode == 0, result.stderr


# Prometheus and Grafana


def dashboard_expressions() -> Iterator[str]:
    for panel in DASHBOARD["panels"]:
        for target in panel["targets"]:
            yield target["expr"].replace("$__rate_interval", "1m")


def alert_expressions() -> list[str]:
    return [rule["expr"] for group in ALERTS["groups"] for rule in group["rules"]]


@pytest.mark.parametrize("expression", [*dashboard_expressions(), *alert_expressions()])
def test_what_is_asked_of_prometheus_is_a_query(expression: str) -> None:
    assert promql_parser.parse(expression)


def test_every_metric_that_is_named_is_one_of_the_gateway() -> None:
    files = [file for file in DEPLOY.rglob("*") if file.suffix in {".json", ".yaml"}]
    named = {
        name
        for file in files
        for name in re.findall(r"\b(?:gateway|process)_\w+", file.read_text())
    }
    assert len(named) > 10
    assert named <= reported()


def reported() -> set[str]:
    """The names of all series that there can be, with those of a histogram's parts."""
    tally = Counters()
    tally.requests["GET", 200] = tally.streams["complete"] = tally.upstream_errors["x"] = 1
    tally.events = 1
    for histogram in (tally.durations, tally.first_bytes, tally.stream_durations):
        histogram.observe(1.0)
    snapshot = Snapshot(
        *({"/": tally}, {"x": 1}, {"success": 1}, {("/", "u"): True}, "d", 1, True, 2),
        restarts={"hung": 1},
        connections_rejected={"open_files": 1},
    )
    families = text_string_to_metric_families(snapshot.encode("")[0].decode())
    return {sample.name for family in families for sample in family.samples}


def test_each_panel_of_the_dashboard_has_a_place_of_its_own() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {
            (place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])
        }
        assert not taken & cells
        taken |= cells
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


# All of it


def test_every_variable_that_is_set_is_one_that_the_gateway_reads() -> None:
    told_to = [
        *VARIABLES,
        *[
            name
            for service in COMPOSE["services"].values()
            for name in service.get("environment", {})
            if name.startswith("GATEWAY_")
        ],
    ]
    result = subprocess.run(
        [sys.executable, "-m", "gateway", "serve", "--help"],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ,
    )
    from_routes = {"GATEWAY_JWT_SECRET", "GATEWAY_PUBLIC_KEY"}
    assert set(told_to) <= from_routes | set(re.findall(r"GATEWAY_\w+", result.stdout))
