"""Lines of the log on their way to the driver, without Ray."""

import logging
from types import SimpleNamespace

from gansweep.scoring import reference
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


def test_what_keeps_the_first_trial_is_sent() -> None:
    relay = Relay()
    relay_log(SimpleNamespace(put=SimpleNamespace(remote=relay.put)))
    try:
        reference.log.info("training the encoder")
        assert relay.take() == [(logging.INFO, "training the encoder")]
    finally:
        relay_log(None)
