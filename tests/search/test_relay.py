"""Warnings on their way to the driver, without Ray."""

import logging
from types import SimpleNamespace

from gansweep.search.relay import Relay, relay_warnings


def test_warnings_and_nothing_else_are_sent_once() -> None:
    relay = Relay()
    logger = logging.getLogger("gansweep.somewhere")
    handle = SimpleNamespace(put=SimpleNamespace(remote=relay.put))
    relay_warnings(handle)
    relay_warnings(handle)
    try:
        logger.info("too small")
        logger.warning("trial %s waits for room", "0003")
        logger.warning("trial %s waits for room", "0003")
        logger.error("with a traceback")
        logger.warning("another")
        assert relay.take() == ["trial 0003 waits for room", "another"]
        assert relay.take() == []
    finally:
        relay_warnings(None)
    logger.warning("nobody listens")
    assert relay.take() == []


def test_a_driver_that_is_gone_disturbs_nobody() -> None:
    def gone(_: str) -> None:
        raise RuntimeError("the actor died")

    relay_warnings(SimpleNamespace(put=SimpleNamespace(remote=gone)))
    try:
        logging.getLogger("gansweep").warning("still here")
    finally:
        relay_warnings(None)


def test_lines_that_nobody_takes_do_not_fill_the_memory() -> None:
    relay = Relay()
    for number in range(5000):
        relay.put(str(number))
    lines = relay.take()
    assert (len(lines), lines[-1]) == (1000, "4999")
