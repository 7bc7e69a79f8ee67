"""The front-end package: what it publishes, and the one copy of its core that the demo page has.

Its own tests are in frontend/tests; `scripts/test` runs both, and builds what is read here.
"""

import json
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
FRONTEND = ROOT / "frontend"
PACKAGE: dict[str, Any] = json.loads((FRONTEND / "package.json").read_text())
NEXT_APP: dict[str, Any] = json.loads((FRONTEND / "next/package.json").read_text())


def test_the_core_of_the_demo_page_is_what_the_front_end_builds() -> None:
    page = ROOT / "gateway/sample/page/assets/progress"
    committed = {file.name: file.read_text() for file in page.iterdir()}
    built = {file.name: file.read_text() for file in (FRONTEND / "dist/core").glob("*.js")}
    assert committed.keys() == built.keys()
    assert committed == built, "run: scripts/frontend page"


def test_the_core_needs_no_react_and_nothing_else() -> None:
    for file in (FRONTEND / "dist/core").glob("*.js"):
        imports = re.findall(r'from "([^"]+)"', file.read_text())
        assert all(name.startswith("./") for name in imports), (file.name, imports)
    assert "dependencies" not in PACKAGE


def test_what_needs_react_is_marked_for_the_client_and_nothing_else_is() -> None:
    modules = {file: file.read_text() for file in (FRONTEND / "dist").rglob("*.js")}
    of_react = {file for file, text in modules.items() if re.search(r'from "react[/"]', text)}
    marked = {file for file, text in modules.items() if text.startswith('"use client";')}
    assert of_react
    # A mark on the entry would make client references of all that the core exports, too.
    assert marked == of_react


def test_the_package_has_its_exports_and_nothing_that_is_not_for_its_users() -> None:
    packed = subprocess.run(
        ["npm", "pack", "--dry-run", "--json", "--ignore-scripts"],
        cwd=FRONTEND,
        capture_output=True,
        check=True,
        timeout=30,
    )
    [package] = json.loads(packed.stdout)
    names = {file["path"] for file in package["files"]}
    exported = {
        path
        for export in PACKAGE["exports"].values()
        for path in ([export] if isinstance(export, str) else export.values())
    }
    assert names >= {path.removeprefix("./") for path in exported}
    assert names >= {"LICENSE", "README.md", "package.json"}
    others = {name for name in names if not name.startswith("dist/")}
    assert others == {"LICENSE", "README.md", "package.json"}
    assert {Path(name).suffix for name in names - others} == {".js", ".ts", ".css"}


def test_the_package_has_the_version_and_the_licence_of_the_gateway() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert (PACKAGE["version"], PACKAGE["license"]) == (project["version"], project["license"])
    assert (FRONTEND / "LICENSE").read_text() == (ROOT / "LICENSE").read_text()


def test_every_tool_is_named_with_one_exact_version() -> None:
    for tools in (
        PACKAGE["devDependencies"],
        NEXT_APP["dependencies"],
        NEXT_APP["devDependencies"],
    ):
        for name, version in tools.items():
            assert re.fullmatch(r"\d+\.\d+\.\d+", version), name
    for folder in (FRONTEND, FRONTEND / "next"):
        assert not (folder / "package-lock.json").exists()
