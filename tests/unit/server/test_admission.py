"""A connection is admitted while all limits have room; else the limit that has none counts it."""

from structlog.testing import capture_logs

from gateway.open_files import OpenFiles
from gateway.server.admission import Admission, Verdict
from gateway.server.connection_count import ConnectionCount


def test_over_the_limit_of_connections_one_is_rejected_until_another_leaves() -> None:
    admission = Admission(ConnectionCount.alone())
    assert admission.enter(9, 1) is Verdict.ADMITTED
    assert admission.enter(10, 1) is Verdict.REJECTED
    assert admission.rejected == {"max_connections": 1, "open_files": 0}
    admission.leave()
    assert admission.enter(9, 1) is Verdict.ADMITTED


async def test_near_the_limit_of_open_files_connections_are_rejected_and_then_closed() -> None:
    admission = Admission(files=OpenFiles(1000))
    assert admission.enter(874, None) is Verdict.ADMITTED
    with capture_logs():
        assert admission.enter(875, None) is Verdict.REJECTED
        assert admission.enter(937, None) is Verdict.REJECTED
        assert admission.enter(938, None) is Verdict.CLOSED
    assert admission.rejected == {"max_connections": 0, "open_files": 3}


async def test_a_connection_that_has_no_descriptor_to_spare_is_not_counted_as_open() -> None:
    admission = Admission(files=OpenFiles(1000))
    with capture_logs():
        admission.enter(900, 1)
    assert admission.enter(9, 1) is Verdict.ADMITTED
