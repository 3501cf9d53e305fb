"""The mailbox's promises, on its own event loop (Ray adds nothing but the transport)."""

import asyncio

import pytest

from gansweep.search.hung_workers import WorkerProcess
from gansweep.search.mailbox import MOST_LOST, Hang, Job, TrialMailbox
from gansweep.search.silence import SilenceLimit
from tests.values import report_of


async def _soon(awaitable: object) -> object:
    return await asyncio.wait_for(awaitable, 2)  # type: ignore[arg-type]


async def _waits(awaitable: object) -> bool:
    task = asyncio.ensure_future(awaitable)  # type: ignore[arg-type]
    done, _ = await asyncio.wait([task], timeout=0.05)
    task.cancel()
    return not done


def test_workers_train_only_towards_reports_that_are_wanted() -> None:
    async def story() -> None:
        mailbox = TrialMailbox()
        await mailbox.assign(Job(0, "0000", {}))
        assert (await _soon(mailbox.next_job(0, -1))).trial_id == "0000"  # type: ignore[attr-defined]
        first = asyncio.ensure_future(mailbox.outcome(0, 0))
        await mailbox.hand_in(0, 0, report_of(0))
        assert (await _soon(first)).report == report_of(0)  # type: ignore[attr-defined]
        # Nobody has asked for report 1 yet: a scheduler may still stop the trial, so no one trains on.
        assert await _waits(mailbox.verdict(0, 0))
        second = asyncio.ensure_future(mailbox.outcome(0, 1))
        assert await _soon(mailbox.verdict(0, 0)) is True
        second.cancel()

    asyncio.run(story())


def test_a_replaced_trial_ends_at_itsreport_of() -> None:
    async def story() -> None:
        mailbox = TrialMailbox()
        await mailbox.assign(Job(0, "0000", {}))
        await mailbox.hand_in(0, 0, report_of(0))
        waiting = asyncio.ensure_future(mailbox.verdict(0, 0))
        await mailbox.assign(Job(1, "0001", {}))
        assert await _soon(waiting) is False
        assert (await _soon(mailbox.next_job(0, 0))).trial_id == "0001"  # type: ignore[attr-defined]
        assert (await _soon(mailbox.outcome(0, 1))).ending == "failed"  # type: ignore[attr-defined]

    asyncio.run(story())


def test_a_restarted_worker_gets_the_trial_its_predecessor_died_on_and_its_report_count() -> None:
    async def story() -> None:
        mailbox = TrialMailbox()
        await mailbox.assign(Job(3, "0003", {}, reported=2))
        await _soon(mailbox.next_job(0, -1))
        await mailbox.hand_in(3, 2, report_of(2))
        again = await _soon(mailbox.next_job(0, -1))
        assert again.ticket == 3  # type: ignore[attr-defined]
        assert await mailbox.reported(3) == 3

    asyncio.run(story())


def test_a_trial_that_keeps_killing_its_workers_fails_with_the_reason() -> None:
    async def story() -> None:
        mailbox = TrialMailbox(max_starts=2)
        await mailbox.assign(Job(0, "0000", {}))
        for _ in range(2):
            await _soon(mailbox.next_job(0, -1))
            await mailbox.fault(0, "RuntimeError: CUDA error")
        # The third group: rank 1 asks first and is on the trial already, so rank 0 must take it down, not just wait.
        await _soon(mailbox.next_job(1, -1))
        with pytest.raises(RuntimeError, match="CUDA error"):
            await _soon(mailbox.next_job(0, -1))
        outcome = await _soon(mailbox.outcome(0, 0))
        assert (outcome.ending, outcome.report) == ("failed", None)  # type: ignore[attr-defined]
        assert "CUDA error" in outcome.reason  # type: ignore[attr-defined]
        assert await _waits(mailbox.next_job(0, -1))

    asyncio.run(story())


def test_a_start_that_led_to_a_new_report_is_not_counted() -> None:
    async def story() -> None:
        mailbox = TrialMailbox(max_starts=3)
        await mailbox.assign(Job(0, "0000", {}))
        for index in range(10):
            await _soon(mailbox.next_job(0, -1))  # a worker starts again: its spot node was taken
            await mailbox.hand_in(0, index, report_of(index))
        for _ in range(3):
            await _soon(mailbox.next_job(0, -1))
            await mailbox.hand_in(0, 9, report_of(9))  # known already: no progress
        with pytest.raises(RuntimeError, match="its workers died"):
            await _soon(mailbox.next_job(0, -1))

    asyncio.run(story())


def test_a_start_whose_node_was_lost_is_not_counted() -> None:
    living = {"a", "b"}

    async def story() -> None:
        mailbox = TrialMailbox(max_starts=2, living_nodes=lambda: living)
        await mailbox.assign(Job(0, "0000", {}))
        for number in range(8):
            node = f"spot-{number}"
            living.add(node)
            # The second rank asks first in every other group.
            ranks = [(0, "a"), (1, node)]
            for rank, place in reversed(ranks) if number % 2 else ranks:
                await _soon(mailbox.next_job(rank, -1, place))
            living.remove(node)
        await _soon(mailbox.next_job(0, -1, "a"))
        await _soon(mailbox.next_job(0, -1, "a"))
        with pytest.raises(RuntimeError, match=r"its workers died \(2 starts\)"):
            await _soon(mailbox.next_job(0, -1, "a"))

    asyncio.run(story())


def test_a_trial_that_keeps_losing_nodes_fails_in_the_end() -> None:
    async def story() -> None:
        mailbox = TrialMailbox(living_nodes=set)
        await mailbox.assign(Job(0, "0000", {}))
        for _ in range(MOST_LOST + 1):
            await _soon(mailbox.next_job(0, -1, "spot"))
        with pytest.raises(RuntimeError, match=f"{MOST_LOST + 1} nodes were lost under it"):
            await _soon(mailbox.next_job(0, -1, "spot"))

    asyncio.run(story())


@pytest.mark.parametrize("ending", ["diverged", "failed"])
def test_an_ended_trial_is_not_handed_out_again(ending: str) -> None:
    async def story() -> None:
        mailbox = TrialMailbox()
        await mailbox.assign(Job(0, "0000", {}))
        await _soon(mailbox.next_job(0, -1))
        await mailbox.end(0, ending, "why")  # type: ignore[arg-type]
        outcome = await _soon(mailbox.outcome(0, 0))
        assert (outcome.ending, outcome.reason) == (ending, "why")  # type: ignore[attr-defined]
        # A worker group restarted now must wait for the next trial, not train this one again.
        assert await _waits(mailbox.next_job(0, -1))

    asyncio.run(story())


def test_closing_sends_everyone_home() -> None:
    async def story() -> None:
        mailbox = TrialMailbox()
        await mailbox.assign(Job(0, "0000", {}))
        waiting = asyncio.ensure_future(mailbox.verdict(0, 0))
        idle = asyncio.ensure_future(mailbox.next_job(1, 0))
        await mailbox.close()
        assert await _soon(waiting) is False
        assert await _soon(idle) is None

    asyncio.run(story())


def test_hung_workers_are_named_once_and_counted_as_a_start_without_progress() -> None:
    async def story() -> None:
        mailbox = TrialMailbox(2, lambda: {"node"}, SilenceLimit(0.02, 0.001))
        await mailbox.assign(Job(0, "0000", {}))
        waiting = asyncio.ensure_future(mailbox.outcome(0, 0))
        await asyncio.sleep(0.2)
        assert await mailbox.hang(0) is None, "no worker has begun: they may wait for room"
        for start in range(2):
            for rank in range(2):
                await _soon(mailbox.next_job(rank, -1, "node", 10 * start + rank, 1.0))
            assert await mailbox.hang(0) is None
            assert await mailbox.fetched()
            await asyncio.sleep(0.2)
            found = await mailbox.hang(0)
            assert isinstance(found, Hang)
            assert found.seconds >= 0.2
            assert found.workers == tuple(WorkerProcess("node", 10 * start + rank, 1.0) for rank in range(2))
            assert await mailbox.hang(0) is None
            assert not await mailbox.fetched()
        with pytest.raises(RuntimeError, match=r"its workers said nothing for 0 s \(2 starts\)"):
            await _soon(mailbox.next_job(0, -1, "node", 20, 1.0))
        outcome = await _soon(waiting)
        assert outcome.ending == "failed"  # type: ignore[attr-defined]

    asyncio.run(story())


def test_a_trial_that_nobody_waits_for_does_not_hang() -> None:
    async def story() -> None:
        mailbox = TrialMailbox(silence=SilenceLimit(0.02, 0.001))
        await mailbox.assign(Job(0, "0000", {}))
        await _soon(mailbox.next_job(0, -1, "node", 1, 1.0))
        await mailbox.hand_in(0, 0, report_of(0))
        await asyncio.sleep(0.2)  # the scheduler thinks
        assert await mailbox.hang(0) is None
        waiting = asyncio.ensure_future(mailbox.outcome(0, 1))
        await asyncio.sleep(0.2)
        assert await mailbox.hang(0) is not None
        waiting.cancel()

    asyncio.run(story())


def test_each_restart_is_told_once_with_its_reason() -> None:
    living = {"a", "b"}

    async def story() -> None:
        mailbox = TrialMailbox(max_starts=9, living_nodes=lambda: living)
        await mailbox.assign(Job(0, "0007", {}))
        await _soon(mailbox.next_job(0, -1, "a"))
        assert await mailbox.restarts() == []
        await _soon(mailbox.next_job(0, -1, "a"))
        await mailbox.fault(0, "CUDA error")
        await _soon(mailbox.next_job(0, -1, "b"))
        living.remove("a")
        await _soon(mailbox.next_job(0, -1, "b"))
        assert await mailbox.restarts() == [
            "trial 0007: its workers died",
            "trial 0007: CUDA error",
            "trial 0007: a node was lost under it",
        ]
        assert await mailbox.restarts() == []

    asyncio.run(story())


def test_a_lost_node_is_told_once_and_its_silence_is_no_hang() -> None:
    living = {"a", "b"}

    async def story() -> None:
        limit = SilenceLimit(0.05, checkpoint_s=0.01)
        mailbox = TrialMailbox(living_nodes=lambda: living, silence=limit)
        assert not await mailbox.lost()
        await mailbox.assign(Job(0, "0007", {}))
        assert not await mailbox.lost()
        for rank, node in enumerate("ab"):
            await _soon(mailbox.next_job(rank, -1, node))
        assert not await mailbox.lost()
        living.remove("b")
        assert [await mailbox.lost() for _ in range(3)] == [True, False, False]
        await asyncio.sleep(0.5)
        assert await mailbox.hang(0) is None
        # Others come, and the next loss is told again.
        for rank in (0, 1):
            await _soon(mailbox.next_job(rank, -1, "a"))
        assert not await mailbox.lost()
        living.remove("a")
        assert await mailbox.lost()

    asyncio.run(story())
