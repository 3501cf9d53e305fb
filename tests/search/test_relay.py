"""Lines of the log on their way to the driver, without Ray."""

import logging
from types import ModuleType, SimpleNamespace

import pytest

from gansweep.scoring import arms, mask_arms, reference
from gansweep.search.relay import Relay, relay_log


def test_warnings_and_nothing_else_are_sent_once() -> None:
    relay = Relay()
    logger = logging.getLogger("gansweep.somewhere")
    handle = SimpleNamespace(put=SimpleNamespace(remote=relay.put))
    relay_log(handle)
    relay_log(handle)
    try:
        logger.info("too small")
        logger.warning("trial %s waits for room", "0003")
        logger.warning("trial %s waits for room", "0003")
        logger.error("with a traceback")
        logger.warning("another")
        assert relay.take() == [(logging.WARNING, "trial 0003 waits for room"), (logging.WARNING, "another")]
        assert relay.take() == []
    finally:
        relay_log(None)
    logger.warning("nobody listens")
    assert relay.take() == []


def test_a_driver_that_is_gone_disturbs_nobody() -> None:
    def gone(_level: int, _line: str) -> None:
        raise RuntimeError("the actor died")

    relay_log(SimpleNamespace(put=SimpleNamespace(remote=gone)))
    try:
        logging.getLogger("gansweep").warning("still here")
    finally:
        relay_log(None)


def test_lines_that_nobody_takes_do_not_fill_the_memory() -> None:
    relay = Relay()
    for number in range(5000):
        relay.put(logging.WARNING, str(number))
    lines = relay.take()
    assert (len(lines), lines[-1]) == (1000, (logging.WARNING, "4999"))


@pytest.mark.parametrize("module", [reference, arms, mask_arms])
def test_what_takes_long_is_sent(module: ModuleType) -> None:
    relay = Relay()
    relay_log(SimpleNamespace(put=SimpleNamespace(remote=relay.put)), "confirm-0003-10000")
    try:
        module.log.debug("a step")
        module.log.info("training")
        module.log.warning("few images")
        info, warning = relay.take()
        assert info == (logging.INFO, "confirm-0003-10000: training")
        assert warning == (logging.WARNING, "confirm-0003-10000: few images")
    finally:
        relay_log(None)
