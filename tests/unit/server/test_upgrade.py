"""After a switch only what is read goes elsewhere: the connection writes and ends as before."""

import asyncio

import pytest

from gateway.server.upgrade import UpgradedProtocol


class Recorder(asyncio.Protocol):
    """A connection of a client, or a protocol after it, that records its calls."""

    def __init__(self, *, keeps_open: bool = False) -> None:
        self.reported: list[object] = []
        self._keeps_open = keeps_open

    def sent(self, data: bytes) -> None:
        self.reported.append(data)

    def sent_all(self) -> bool:
        self.reported.append("end")
        return self._keeps_open

    def pause_writing(self) -> None:
        self.reported.append("pause")

    def resume_writing(self) -> None:
        self.reported.append("resume")

    def connection_lost(self, exc: BaseException | None) -> None:
        self.reported.append(exc)


@pytest.mark.parametrize("keeps_open", [True, False])
def test_what_is_read_goes_to_the_taker_who_says_whether_it_stays_open(keeps_open: bool) -> None:
    browser, taker = Recorder(), Recorder(keeps_open=keeps_open)
    switched = UpgradedProtocol(browser, taker)
    switched.data_received(b"a")
    switched.data_received(b"b")
    assert switched.eof_received() is keeps_open
    assert (taker.reported, browser.reported) == ([b"a", b"b", "end"], [])


def test_all_else_is_the_connections_own() -> None:
    browser, taker, lost = Recorder(), Recorder(), ConnectionResetError()
    switched = UpgradedProtocol(browser, taker)
    switched.pause_writing()
    switched.resume_writing()
    switched.connection_lost(lost)
    assert (browser.reported, taker.reported) == (["pause", "resume", lost], [])
