"""Each file of the status page is there, and no other can be had."""

import re

import pytest

from gateway.endpoints import status_page


@pytest.mark.parametrize("path", status_page.PATHS)
def test_each_file_has_its_type_and_names_only_files_that_are_there(path: str) -> None:
    response = status_page.page(path)
    assert isinstance(response.body, bytes)
    text = response.body.decode()
    assert response.content_type in {"text/html", "text/css", "image/svg+xml", "text/javascript"}
    named = re.findall(r'(?:src|href|from)[= ]"\.?/?([\w.]+\.(?:js|css|svg))"', text)
    assert {f"/{name}" for name in named} <= set(status_page.PATHS)
    assert named or path not in {"/", "/page.js"}


def test_nothing_is_read_by_a_name_that_a_request_makes_up() -> None:
    with pytest.raises(KeyError):
        status_page.page("/../ops.py")
