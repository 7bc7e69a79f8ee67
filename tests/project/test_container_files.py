"""Dockerfile, docker-compose.yml, the wheel and the program agree about paths, ports and names."""

import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway import healthcheck

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
LOCKS = sorted(ROOT.glob("requirements*.lock"))


def instruction(name: str) -> str:
    """Give the arguments of the final stage's last instruction of that name."""
    found: list[str] = re.findall(rf"^{name} +(.+)$", DOCKERFILE, re.MULTILINE)
    return found[-1].strip()


def environment() -> dict[str, str]:
    return dict(re.findall(r"(\w+)=(\S+)", instruction("ENV")))


def mounts(service: str) -> dict[str, tuple[str, str]]:
    """Give what is mounted where: target to source and mode."""
    split = [(*mount.split(":"), "rw")[:3] for mount in SERVICES[service]["volumes"]]
    return {target: (source, mode) for source, target, mode in split}


def test_the_image_starts_and_checks_itself_without_a_shell() -> None:
    assert json.loads(instruction("ENTRYPOINT")) == ["gateway"]
    assert json.loads(instruction("CMD")) == ["serve"]
    check = re.search(r"HEALTHCHECK .*? CMD +(.+)$", DOCKERFILE, re.MULTILINE)
    assert check
    assert json.loads(check[1]) == ["python", "-m", healthcheck.__name__]


def test_the_image_is_not_root_by_number() -> None:
    user, group = map(int, instruction("USER").split(":"))
    assert user >= 1000
    assert group >= 1000
    assert f"useradd --system --uid {user} " in DOCKERFILE


def test_every_base_image_has_a_version() -> None:
    bases = re.findall(r"^FROM +(\S+)", DOCKERFILE, re.MULTILINE)
    assert bases
    assert set(bases) == {"python:${PYTHON_VERSION}-slim"}
    assert re.search(r"^ARG PYTHON_VERSION=3\.\d+$", DOCKERFILE, re.MULTILINE)


def test_the_exposed_ports_are_those_that_compose_publishes_to_this_machine_alone() -> None:
    published = [mapping.split(":") for mapping in SERVICES["gateway"]["ports"]]
    assert [inside for _, _, inside in published] == instruction("EXPOSE").split()
    assert {address for address, _, _ in published} == {"127.0.0.1"}
    assert instruction("EXPOSE").split()[1] == healthcheck.OPS_PORT
    assert "ports" not in SERVICES["sample-backend"]


def test_compose_mounts_the_routes_where_the_image_looks_for_them() -> None:
    source, mode = mounts("gateway")[environment()["GATEWAY_ROUTES"]]
    assert mode == "ro"
    assert (ROOT / source).is_file()


def test_the_public_key_is_written_by_the_backend_and_only_read_by_the_gateway() -> None:
    written = Path(SERVICES["sample-backend"]["environment"]["SAMPLE_PUBLIC_KEY_FILE"])
    assert SERVICES["gateway"]["environment"]["GATEWAY_PUBLIC_KEY"] == str(written)
    assert mounts("sample-backend")[str(written.parent)] == ("keys", "rw")
    assert mounts("gateway")[str(written.parent)] == ("keys", "ro")
    assert f"install -d -o gateway -g gateway {written.parent} " in DOCKERFILE
    assert "keys" in COMPOSE["volumes"]


def test_the_gateway_gets_the_port_that_the_backend_listens_on() -> None:
    command = SERVICES["sample-backend"]["command"]
    port = command[command.index("--port") + 1]
    upstream = SERVICES["gateway"]["environment"]["PROCESSOR_SERVICE_URL"]
    assert upstream == f"http://sample-backend:{port}"
    assert (
        SERVICES["sample-backend"]["healthcheck"]["test"][-1] == f"http://127.0.0.1:{port}/healthz"
    )


def test_compose_sets_all_the_variables_that_its_routes_ask_for() -> None:
    source, _ = mounts("gateway")[environment()["GATEWAY_ROUTES"]]
    routes = re.sub(r"#.*", "", (ROOT / source).read_text(encoding="utf-8"))
    asked = {name for name, fallback in re.findall(r"\$\{?(\w+)(:-)?", routes) if not fallback}
    assert asked
    assert asked <= SERVICES["gateway"]["environment"].keys()


@pytest.mark.parametrize("service", SERVICES.values(), ids=list(SERVICES))
def test_a_service_is_the_same_image_with_nothing_it_could_abuse(service: dict[str, Any]) -> None:
    assert service["build"] == "."
    assert re.fullmatch(r"gateway:\d+\.\d+\.\d+", service["image"])
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]


def test_the_gateway_is_given_longer_to_stop_than_its_streams_to_finish() -> None:
    assert int(SERVICES["gateway"]["stop_grace_period"].removesuffix("s")) > 30


@pytest.mark.parametrize("lock", LOCKS, ids=[lock.name for lock in LOCKS])
def test_a_lock_file_pins_with_hashes_and_names_no_address(lock: Path) -> None:
    text = lock.read_text(encoding="utf-8")
    pins = re.findall(
        r"^[\w.\[\]-]+==[^\\\n]+\\\n    --hash=sha256:[0-9a-f]{64}", text, re.MULTILINE
    )
    assert pins
    assert len(pins) == len(re.findall(r"^[^ #\n]", text, re.MULTILINE))
    assert not re.search(r"://|index-url|find-links", text)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Build the wheel as the Dockerfile does, and give the names of what is in it."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [
            *(sys.executable, "setup.py"),
            *("build", "--build-base", folder / "build"),
            *("bdist_wheel", "--bdist-dir", folder / "tree", "--dist-dir", folder),
        ],
        cwd=ROOT,
        env={**os.environ, "GATEWAY_BUILD": "pure"},
        check=True,
        capture_output=True,
        timeout=50,
    )
    (built,) = folder.glob("*.whl")
    with zipfile.ZipFile(built) as archive:
        return set(archive.namelist())


def test_the_wheel_holds_the_page_the_routes_and_the_type_marker(wheel: set[str]) -> None:
    pages = [ROOT / "gateway/sample/page", ROOT / "gateway/endpoints/status"]
    found = [file for page in pages for file in page.rglob("*") if file.is_file()]
    files = {str(file.relative_to(ROOT)) for file in found}
    assert files >= {"gateway/sample/page/index.html", "gateway/endpoints/status/index.html"}
    assert wheel >= {*files, "gateway/sample/routes.yaml", "gateway/py.typed"}


def test_the_wheel_holds_no_tests_and_no_byte_code(wheel: set[str]) -> None:
    assert not [name for name in wheel if name.startswith("tests/") or name.endswith(".pyc")]


def test_all_that_the_dockerfile_copies_is_let_through_by_dockerignore() -> None:
    ignore = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    let_through = {line.removeprefix("!") for line in ignore if line.startswith("!")}
    copied = re.findall(r"^COPY +(?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE)
    assert {name for names in copied for name in names.split()} == let_through
