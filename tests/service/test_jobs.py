"""Jobs in virtual time: turns, ends, cancels, deadlines, admission. Nothing here waits for real."""

import asyncio
import time

import pytest

from models.wire.events import Done, Portrait, Started, Stepped
from models.wire.picture import Picture
from service.access.caller import ANONYMOUS
from service.errors import BadPicture, DeadlineExceeded, JobCancelled, JobFailed, NoCapacity, NotFound
from service.jobs.log import Ended, EventLog, Queued
from service.jobs.options import JobOptions
from tests.orders import order_of
from tests.service.jobs_harness import JobsHarness, caller, check_ended_once, run_jobs, settled
from tests.service.some_job import some_job, some_summary
from tests.service.virtual_workers import VirtualWorkers
from tests.virtual_time import run_virtually

ALICE, BOB = caller("alice"), caller("bob")


async def ended(*jobs):
    """Their errors, None for a good end."""
    ends = await asyncio.gather(*(job.finished() for job in jobs), return_exceptions=True)
    return [end if isinstance(end, Exception) else None for end in ends]


class TestLog:
    def test_a_follower_sees_everything_from_any_id_and_ends_with_the_job(self):
        async def run():
            log = EventLog()
            follower = asyncio.create_task(follow(log, 1))
            for event in (Queued(1, None), stepped(1), stepped(2)):
                log.add(event)
                await asyncio.sleep(0)
            log.add(Ended(JobFailed("x", "X.")))
            return await follower, await follow(log, 0), await follow(log, 4)

        live, whole, nothing = run_virtually(run())
        assert [logged.id for logged in live] == [2, 3, 4]
        assert [logged.id for logged in whole] == [1, 2, 3, 4]
        assert nothing == []

    def test_old_steps_go_first_and_portraits_and_ends_never(self):
        async def run():
            log = EventLog(max_steps=3)
            log.add(Queued(1, None))
            for step in range(10):
                log.add(stepped(step, preview=b"12345"))
            log.add(portrait(0))
            log.add(Ended(JobFailed("x", "X.")))
            return await follow(log, 0), log.num_bytes

        entries, num_bytes = run_virtually(run())
        assert [logged.id for logged in entries] == [1, 9, 10, 11, 12, 13]
        assert num_bytes == 3 * 5 + 4

    def test_a_slow_follower_misses_steps_only(self):
        async def run():
            log = EventLog(max_steps=2)
            stream = log.follow()
            log.add(Queued(1, None))
            first = await anext(stream)
            for step in range(20):
                log.add(stepped(step))
            log.add(Ended(JobFailed("x", "X.")))
            return [first, *[logged async for logged in stream]]

        entries = run_virtually(run())
        assert [type(logged.event) for logged in entries] == [Queued, Stepped, Stepped, Ended]


async def follow(log, after):
    return [logged async for logged in log.follow(after)]


def stepped(step, preview=None):
    return Stepped(job_id="job", index=0, step=step, steps=50, preview=preview)


def portrait(index):
    return Portrait(job_id="job", index=index, seed=1, format="jpeg", width=1, height=1, data=b"data")


def test_a_job_runs_to_its_end_without_anybody_following():
    async def scenario(harness):
        job = harness.accept(images=2, keep=True)
        finished = await job.finished()
        return job, finished

    job, finished = run_jobs(scenario)
    assert [one.index for one in finished.portraits] == [0, 1]
    assert job.state == "succeeded"
    check_ended_once(job)
    kinds = [type(logged.event) for logged in job.log]
    assert kinds == [Queued, Started, *[Stepped] * 7, Portrait, Stepped, Portrait, Done]


def test_a_finished_job_is_found_by_its_caller_alone_and_forgotten_in_time():
    async def scenario(harness):
        job = harness.accept(ALICE, keep=True)
        with pytest.raises(NotFound) as foreign:
            harness.jobs.find(job.id, BOB)
        with pytest.raises(NotFound) as unknown:
            harness.jobs.find("0" * 32, BOB)
        assert foreign.value.message == unknown.value.message
        await job.finished()
        await asyncio.sleep(599)
        assert harness.jobs.find(job.id, ALICE) is job
        assert harness.jobs.of(ALICE) == [job]
        assert harness.jobs.of(BOB) == []
        await asyncio.sleep(2)
        with pytest.raises(NotFound):
            harness.jobs.find(job.id, ALICE)

    run_jobs(scenario)


def test_results_beyond_their_bytes_go_before_their_time_oldest_first():
    async def scenario(harness):
        jobs = [harness.accept(keep=True, images=2) for _ in range(3)]
        await ended(*jobs)
        await asyncio.sleep(1)
        return [job in harness.jobs.of(ANONYMOUS) for job in jobs]

    assert run_jobs(scenario, max_result_bytes=450) == [False, True, True]


def test_a_job_that_nobody_wants_to_fetch_is_forgotten_at_its_end():
    async def scenario(harness):
        job = harness.accept()
        await job.finished()
        await asyncio.sleep(0.1)
        return harness.jobs.of(ANONYMOUS)

    assert run_jobs(scenario) == []


class TestFollowers:
    def test_the_last_one_who_leaves_takes_the_job_along(self):
        async def scenario(harness):
            job = harness.accept(steps=20)
            job.attach()
            job.attach()
            await asyncio.sleep(0.5)
            job.detach()
            await asyncio.sleep(0.5)
            assert job.state == "running"
            job.detach()
            return job, await ended(job)

        job, (error,) = run_jobs(scenario)
        assert (job.state, error.code) == ("cancelled", "client_left")

    def test_a_job_that_is_to_be_finished_stays(self):
        async def scenario(harness):
            job = harness.accept(on_disconnect="finish")
            job.attach()
            job.detach()
            return await ended(job)

        assert run_jobs(scenario) == [None]

    def test_a_detach_after_the_end_is_no_cancel(self):
        async def scenario(harness):
            job = harness.accept()
            with job.attached():
                await job.finished()
            return job.state

        assert run_jobs(scenario) == "succeeded"


class TestCancel:
    """What others got wrong: vllm-omni issue 3167 (after one abort every later request was aborted) and ik_llama.cpp
    issue 1929 (cancelling a queued job killed the running one)."""

    def test_cancelling_a_queued_job_never_touches_a_running_one(self):
        async def scenario(harness):
            running = [harness.accept(images=4, steps=20) for _ in range(3)]
            queued = [harness.accept(steps=2) for _ in range(5)]
            await asyncio.sleep(0.5)
            for job in queued:
                assert job.state == "queued"
                assert job.cancel()
            errors = await ended(*running, *queued)
            sent = set(harness.workers.sent)
            return errors, [job.id in sent for job in queued]

        errors, were_sent = run_jobs(scenario, VirtualWorkers(max_rows=8))
        assert errors[:3] == [None] * 3
        assert all(isinstance(error, JobCancelled) for error in errors[3:])
        assert were_sent == [False] * 5

    def test_cancelling_a_running_job_never_touches_its_batch_mates_or_those_in_line(self):
        async def scenario(harness):
            jobs = [harness.accept(images=4, steps=20) for _ in range(6)]
            await asyncio.sleep(0.5)
            assert jobs[1].state == "running"
            jobs[1].cancel()
            return await ended(*jobs)

        errors = run_jobs(scenario, VirtualWorkers(max_rows=8))
        assert [error is None for error in errors] == [True, False, True, True, True, True]

    def test_one_abort_aborts_nothing_that_comes_later(self):
        async def scenario(harness):
            first = harness.accept(steps=20)
            await asyncio.sleep(0.5)
            first.cancel()
            later = [harness.accept() for _ in range(20)]
            return await ended(*later)

        assert run_jobs(scenario) == [None] * 20

    def test_a_cancelled_job_makes_at_most_the_step_that_was_under_way(self):
        async def scenario(harness):
            job = harness.accept(steps=50)
            await asyncio.sleep(1.05)
            job.cancel()
            cancelled_at = asyncio.get_running_loop().time()
            await asyncio.sleep(5)
            return harness.workers.last_step_at[job.id] - cancelled_at, harness.figure(
                "cancel_seconds_count", reason="cancelled"
            )

        late, measured = run_jobs(scenario, VirtualWorkers(tick_seconds=0.1))
        assert late <= 0.1
        assert measured == 1

    def test_it_counts_once_and_only_before_the_end(self):
        async def scenario(harness):
            job = harness.accept()
            assert job.cancel()
            assert not job.cancel()
            done = harness.accept()
            await done.finished()
            assert not done.cancel()
            return job, done

        job, done = run_jobs(scenario)
        assert (job.state, done.state) == ("cancelled", "succeeded")
        check_ended_once(job)

    @pytest.mark.parametrize("after", [0.0, 0.05, 0.25, 0.35], ids=["at once", "preparing", "waiting", "running"])
    def test_at_any_time_it_frees_all_that_the_job_held(self, after):
        async def scenario(harness):
            blocker = harness.accept(images=8, steps=3)
            another = harness.accept(images=8, steps=3)
            job = harness.accept(prepare_seconds=0.1, num_bytes=1000)
            await asyncio.sleep(after)
            job.cancel()
            await ended(blocker, another)
            return job

        check_ended_once(run_jobs(scenario))


class Pixels(bytes):
    """Decoded pixels that say when they are freed."""

    alive = 0

    def __new__(cls, size):
        Pixels.alive += 1
        return super().__new__(cls, size)

    def __del__(self):
        Pixels.alive -= 1


class TestPhotos:
    def accept(self, harness, photo, options=None):
        """A job with one photo, which counts its decodings."""
        decoded = []

        async def prepare(job):
            await asyncio.sleep(0.01)
            assert any(photo), "a photo is decoded before it is wiped"
            decoded.append(job.is_prepared)
            selfie = Picture(width=40, height=50, rgb=Pixels(3 * 40 * 50))
            return order_of(
                job_id=job.id, selfies=[selfie], prompt="a person", seeds=[0], deadline_seconds=job.seconds_left
            )

        return harness.jobs.accept(ANONYMOUS, some_summary(), options or JobOptions(), prepare, photos=[photo]), decoded

    def held(self, harness):
        return harness.figure("held_bytes", kind="photos")

    def test_a_job_in_line_holds_its_photos_as_they_came_and_gets_pixels_at_its_turn(self):
        async def scenario(harness):
            blockers = [harness.accept(images=8, steps=3) for _ in range(2)]
            photo = bytearray(b"photo" * 20)
            job, decoded = self.accept(harness, photo)
            await job.prepared()
            await asyncio.sleep(0.01)
            in_line = (Pixels.alive, self.held(harness), any(photo), list(decoded))
            await ended(blockers[0])
            await asyncio.sleep(0.11)
            at_worker = (Pixels.alive, self.held(harness), any(photo), list(decoded))
            await ended(job, blockers[1])
            return in_line, at_worker

        in_line, at_worker = run_jobs(scenario)
        assert in_line == (0, 100 + 2 * 12, True, [False])  # the two before it have had their turns
        assert at_worker == (1, 6000 + 12, False, [False, True])
        assert Pixels.alive == 0

    def test_a_job_whose_turn_is_at_once_is_decoded_once(self):
        async def scenario(harness):
            photo = bytearray(b"photo")
            job, decoded = self.accept(harness, photo)
            await ended(job)
            return decoded, photo

        assert run_jobs(scenario) == ([False], bytearray(5))

    def test_photos_are_wiped_when_a_job_ends_in_line(self):
        async def scenario(harness):
            blockers = [harness.accept(images=8, steps=3) for _ in range(2)]
            photo = bytearray(b"photo")
            job, _ = self.accept(harness, photo, options=JobOptions(keep=True))
            await job.prepared()
            assert any(photo)
            job.cancel()
            await asyncio.sleep(0.01)
            left = any(photo), job.photos.files
            await ended(*blockers)
            return left

        assert run_jobs(scenario) == (False, ())

    def test_photos_are_wiped_when_a_job_ends_before_its_first_breath(self):
        async def scenario(harness):
            photo = bytearray(b"photo")
            job, _ = self.accept(harness, photo)
            job.cancel()
            await asyncio.sleep(0.01)
            return any(photo)

        assert run_jobs(scenario) is False


class TestDeadline:
    def test_it_ends_a_running_job_and_frees_its_rows(self):
        async def scenario(harness):
            job = harness.accept(steps=50, deadline=1.0)
            began = asyncio.get_running_loop().time()
            (error,) = await ended(job)
            return error, asyncio.get_running_loop().time() - began

        error, seconds = run_jobs(scenario)
        assert isinstance(error, DeadlineExceeded)
        assert seconds == pytest.approx(1.0)

    def test_it_ends_a_job_in_line_before_a_worker_has_seen_it(self):
        async def scenario(harness):
            blockers = [harness.accept(images=8, steps=40) for _ in range(2)]
            job = harness.accept(deadline=1.0)
            (error,) = await ended(job)
            for blocker in blockers:
                blocker.cancel()
            return error, job.id in harness.workers.sent

        error, was_sent = run_jobs(scenario)
        assert isinstance(error, DeadlineExceeded)
        assert not was_sent

    def test_it_ends_a_job_whose_photos_take_too_long(self):
        async def scenario(harness):
            job = harness.accept(prepare_seconds=10, deadline=0.5)
            with pytest.raises(DeadlineExceeded):
                await job.prepared()

        run_jobs(scenario)


def test_photos_that_are_refused_end_the_job_and_whoever_waits_for_them_is_told():
    async def scenario(harness):
        job = harness.accept(error=BadPicture("image_undecodable", "No picture.", extra={"selfie": 1}))
        with pytest.raises(BadPicture) as refused:
            await job.prepared()
        with pytest.raises(BadPicture):
            await job.finished()
        assert job.state == "failed"
        return refused.value.extra

    assert run_jobs(scenario) == {"selfie": 1}


def test_a_bug_while_preparing_ends_the_job_as_ours():
    async def scenario(harness):
        return await ended(harness.accept(error=ValueError("secret")))

    (error,) = run_jobs(scenario)
    assert (error.status, error.code) == (500, "internal_error")


class TestTurns:
    def test_workers_get_only_what_they_can_soon_run(self):
        async def scenario(harness):
            await ended(*(harness.accept(images=2) for _ in range(40)))
            return harness.workers.most_images

        assert run_jobs(scenario, VirtualWorkers(max_rows=8), max_jobs=100) <= 8 + 4 + 1

    def test_a_burst_of_one_caller_is_passed_by_the_first_job_of_another(self):
        async def scenario(harness):
            burst = [harness.accept(ALICE) for _ in range(40)]
            await asyncio.sleep(0.3)
            job = harness.accept(BOB)
            assert job.position == 1
            await job.finished()
            done = sum(one.has_ended for one in burst)
            await ended(*burst)
            return done

        assert run_jobs(scenario, VirtualWorkers(max_rows=4), max_jobs=100) <= 12

    def test_positions_count_down_to_the_start(self):
        async def scenario(harness):
            jobs = [harness.accept(images=8, steps=2) for _ in range(5)]
            seen = []
            while not jobs[4].has_ended:
                if not seen or seen[-1] != jobs[4].position:
                    seen.append(jobs[4].position)
                await asyncio.sleep(0.05)
            await ended(*jobs)
            return seen

        assert run_jobs(scenario, VirtualWorkers(max_rows=8)) == [5, 3, 2, 1, 0]

    def test_with_no_worker_warm_for_a_while_nothing_is_lost(self):
        async def scenario(harness):
            jobs = [harness.accept(images=2) for _ in range(10)]
            await asyncio.sleep(0.15)
            harness.workers.ready = False
            await asyncio.sleep(1)
            harness.workers.ready = True
            return await ended(*jobs)

        assert run_jobs(scenario) == [None] * 10


class TestAdmission:
    def test_places_are_bounded_and_the_refusal_says_how_the_line_is(self):
        async def scenario(harness):
            await harness.accept().finished()
            await asyncio.sleep(0.01)
            jobs = [harness.accept() for _ in range(30)]
            with pytest.raises(NoCapacity) as refused:
                harness.accept()
            with pytest.raises(NoCapacity):
                harness.jobs.check_open(ANONYMOUS, 60.0)
            await ended(*jobs)
            await asyncio.sleep(0.01)
            harness.accept()
            return refused.value

        error = run_jobs(scenario, max_jobs=30)
        assert (error.code, error.value, error.limit) == ("queue_full", 30, 30)
        assert error.extra["position"] > 1
        assert error.extra["eta_seconds"] > 0
        assert error.retry_after_seconds >= 1

    def test_photos_are_bounded_in_bytes(self):
        async def scenario(harness):
            jobs = [harness.accept(num_bytes=400) for _ in range(2)]
            with pytest.raises(NoCapacity) as refused:
                harness.accept(num_bytes=400)
            await ended(*jobs)
            await asyncio.sleep(0.01)
            harness.accept(num_bytes=400)
            return refused.value.code

        assert run_jobs(scenario, max_job_bytes=1000) == "queue_bytes_full"

    def test_one_key_can_not_take_every_place(self):
        async def scenario(harness):
            taken = [harness.accept(ALICE) for _ in range(10)]
            with pytest.raises(NoCapacity) as refused:
                harness.accept(ALICE)
            jobs = [harness.accept(BOB) for _ in range(5)]
            await ended(*taken, *jobs)
            return refused.value.code

        assert run_jobs(scenario, max_jobs=20) == "share_full"

    def test_what_can_not_make_its_deadline_is_refused_at_once(self):
        async def scenario(harness):
            await harness.accept(steps=10).finished()
            jobs = [harness.accept(images=8, steps=10) for _ in range(6)]
            await asyncio.sleep(0.1)
            with pytest.raises(NoCapacity) as refused:
                harness.accept(steps=10, deadline=3.0)
            assert await ended(harness.accept(steps=10, deadline=20.0), *jobs) == [None] * 7
            return refused.value, len(harness.workers.sent)

        error, sent = run_jobs(scenario, VirtualWorkers(max_rows=8, tick_seconds=0.1))
        assert (error.code, error.limit, error.status) == ("deadline_unreachable", 3.0, 503)
        assert error.value > 3.0
        assert error.retry_after_seconds >= 1
        assert sent == 8

    def test_an_empty_service_refuses_only_what_it_has_never_done_that_fast(self):
        async def scenario(harness):
            harness.accept(steps=50, deadline=0.2)  # nothing measured: tried
            await asyncio.sleep(1)
            await harness.accept(steps=10).finished()
            await asyncio.sleep(1)
            with pytest.raises(NoCapacity):
                harness.accept(steps=50, deadline=2.0)
            harness.accept(steps=10, deadline=1.5)
            await asyncio.sleep(400)
            return await ended(harness.accept(steps=50, deadline=2.0))  # tried again: it may have become faster

        (error,) = run_jobs(scenario)
        assert isinstance(error, DeadlineExceeded)

    def test_the_end_is_foretold_within_a_few_steps(self):
        async def scenario(harness):
            await harness.accept(steps=10).finished()
            errors = []
            for _ in range(12):
                jobs = [harness.accept(images=2, steps=10) for _ in range(12)]
                await ended(*jobs)
                errors += [job.elapsed_seconds - job.predicted_seconds for job in jobs]
            return errors[-48:], harness.figure("forecast_error_seconds_count", direction="late")

        errors, counted = run_jobs(scenario, VirtualWorkers(max_rows=8, tick_seconds=0.05, row_seconds=0.01))
        assert max(abs(error) for error in errors) < 1.2  # of bursts that take 4 s
        assert counted > 0

    def test_a_decision_takes_less_than_a_millisecond_in_a_long_line(self):
        async def scenario(harness):
            await harness.accept(steps=4).finished()
            jobs = [harness.accept(caller(f"caller{index % 10}"), steps=4, deadline=10_000) for index in range(500)]
            took = []
            for _ in range(200):
                began = time.perf_counter()
                with pytest.raises(NoCapacity):
                    harness.accept(ALICE, steps=50, deadline=0.1)
                took.append(time.perf_counter() - began)
            for job in jobs:
                job.cancel()
            return sorted(took)[100]

        assert run_jobs(scenario, max_jobs=6000) < 0.001

    def test_while_stopping_nobody_comes_in_and_what_runs_ends(self):
        async def scenario(harness):
            job = harness.accept(steps=50, keep=True)
            await asyncio.sleep(0.2)
            await harness.jobs.stop()
            with pytest.raises(NoCapacity) as refused:
                harness.jobs.check_open(ANONYMOUS, 60.0)
            return await ended(job), refused.value.code

        (error,), code = run_jobs(scenario)
        assert (error.code, code) == ("stopping", "stopping")


def test_a_jobs_name_for_people_holds_nothing_of_a_caller():
    async def run():
        return repr(some_job(caller("secret")))

    assert "secret" not in run_virtually(run())


def test_the_desk_forgets_nothing_it_should_remember_when_built():
    async def run():
        JobsHarness().check_is_empty()

    run_virtually(run())


class TestBooks:
    def with_a_running_job(self, spoil, caplog):
        """What the books say once `spoil(jobs, job)` has happened, and what the log says when all has ended."""

        async def scenario():
            harness = JobsHarness()
            job = harness.accept(steps=10, num_bytes=100, keep=True)
            await asyncio.sleep(0.5)
            assert harness.jobs.discrepancies() == {}
            spoil(harness.jobs, job)
            while_running = harness.jobs.discrepancies()
            await ended(job)
            while not harness.jobs.is_idle:
                await asyncio.sleep(0.01)
            return while_running

        wrong = run_virtually(scenario())
        return wrong, [record for record in caplog.records if "books" in record.getMessage()]

    def test_they_balance_while_jobs_wait_run_and_are_kept(self):
        async def scenario(harness):
            jobs = [harness.accept(caller(f"c{number % 3}"), images=3, num_bytes=10, keep=True) for number in range(9)]
            while not all(job.has_ended for job in jobs):
                assert harness.jobs.discrepancies() == {}
                await asyncio.sleep(0.03)
            await asyncio.sleep(1)
            assert (harness.jobs.is_idle, harness.jobs.discrepancies()) == (True, {})

        run_jobs(scenario)

    @pytest.mark.parametrize(
        ("spoil", "name"),
        [
            (lambda jobs, job: jobs._places.take(), "places"),
            (lambda jobs, job: jobs._bytes.take(7), "photo_bytes"),
            (lambda jobs, job: jobs._tasks.update(lost=jobs._tasks[job.id]), "tasks"),
            (lambda jobs, job: setattr(jobs.turns, "_rows_out", 5), "rows_out"),
            (lambda jobs, job: jobs._replays._jobs.update({("me", "key"): some_job()}), "replays"),
            (lambda jobs, job: setattr(jobs._results, "num_bytes", 3), "result_bytes"),
        ],
        ids=lambda value: value if isinstance(value, str) else "",
    )
    def test_what_is_booked_wrongly_is_named_and_logged_when_idle_and_stops_nothing(self, spoil, name, caplog):
        wrong, logged = self.with_a_running_job(spoil, caplog)
        assert name in wrong
        [record] = logged
        assert set(record.fields[name]) == {"counted", "found"}
        assert all(isinstance(number, int | float) for pair in record.fields.values() for number in pair.values())


def test_a_running_job_that_is_deleted_keeps_its_record_and_none_of_its_pictures():
    async def scenario(harness):
        job = harness.accept(images=3, keep=True)
        while not job.portraits:
            await asyncio.sleep(0.05)
        harness.jobs.delete(job)
        harness.jobs.delete(job)  # again is no error
        await settled(harness.jobs)
        return job, harness.jobs.find(job.id, ANONYMOUS), harness.figure("held_bytes", kind="results")

    job, found, num_bytes = run_jobs(scenario, VirtualWorkers(max_rows=1))
    assert found is job
    assert (job.state, job.portraits, num_bytes) == ("cancelled", [], 0)
    assert not any(isinstance(logged.event, Portrait) for logged in job.log)
    check_ended_once(job)


def test_a_job_that_is_deleted_between_its_end_and_its_workers_letting_go_is_not_kept():
    async def scenario(harness):
        job, gone = harness.accept(keep=True), []
        job.when_over(lambda: harness.jobs.delete(job))
        job.when_dropped(lambda: gone.append("at the end"))
        await settled(harness.jobs)
        job.when_dropped(lambda: gone.append("at once"))
        with pytest.raises(NotFound):
            harness.jobs.find(job.id, ANONYMOUS)
        return gone, harness.jobs.of(ANONYMOUS)

    assert run_jobs(scenario) == (["at the end", "at once"], [])
