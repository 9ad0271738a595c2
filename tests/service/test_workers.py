"""Worker processes: they crash, hang and break; jobs end all the same, once each."""

import asyncio
import os
import signal

import msgspec
import pytest

from models.wire.events import Done, Failed, Portrait, Started, Stepped
from models.wire.order import Photos
from models.wire.picture import Picture
from models.wire.setup import Setup
from scripts.fronts.with_fake import fake_process
from service.__main__ import build_workers
from service.metrics import Metrics
from service.settings import Settings
from service.workers.process import launch_process
from service.workers.supervised import SupervisedWorkers
from tests.orders import order_of
from tests.service.harness import JPEG, QUICK, SELFIE, build_service, client_of, until


def a_job(job_id="job", prompt="a person", seeds=(1,), deadline_seconds=10.0):
    picture = Picture(width=2, height=2, rgb=bytes(12))
    return order_of(
        job_id=job_id, selfies=[picture], prompt=prompt, seeds=list(seeds), deadline_seconds=deadline_seconds
    )


def workers_of(*arguments, number=1, **policy):
    setups = [Setup(device=f"fake:{index}") for index in range(number)]
    chosen = msgspec.structs.replace(QUICK, **policy)
    return SupervisedWorkers(setups, launcher=fake_process(*arguments), policy=chosen)


async def events_of(workers, job):
    return [event async for event in workers.submit(job)]


async def run_with(workers, scenario):
    async def run():
        await workers.start()
        try:
            await asyncio.wait_for(workers.wait_ready(), 10)
            return await asyncio.wait_for(scenario(workers), 20)
        finally:
            await workers.stop()

    return await run()


async def test_a_job_passes_through_a_real_process_and_ends_once():
    events = await run_with(workers_of(), lambda workers: events_of(workers, a_job(seeds=(5, 6))))
    kinds = [type(event) for event in events]
    assert kinds == [Started, *[Stepped] * 8, Portrait, Portrait, Done]


async def test_a_worker_killed_in_the_middle_is_replaced_and_the_job_is_answered_over_http():
    service = build_service(launcher=fake_process("--step-seconds", "0.05"))

    async with client_of(service) as client:
        post = asyncio.create_task(client.post("/v1/portraits?steps=10&seed=1", content=SELFIE, headers=JPEG))
        await until(lambda: service.workers.status()[0].jobs == 1)
        await asyncio.sleep(0.1)
        victim = service.workers.status()[0].pid
        os.kill(victim, signal.SIGKILL)
        answer = await post
        status = service.workers.status()[0]
    assert answer.status_code == 200, answer.text
    assert len(answer.json()["images"]) == 1
    assert status.pid != victim
    assert (status.restarts, status.jobs) == (1, 0)
    assert service.figure("worker_restarts_total", worker="0") == 1


async def test_with_two_workers_the_other_one_takes_over_at_once():
    async def scenario(workers):
        await until(lambda: len(workers.describe()) == 2)
        job = asyncio.create_task(events_of(workers, a_job()))
        await until(lambda: any(status.jobs for status in workers.status()))
        busy = next(status for status in workers.status() if status.jobs)
        os.kill(busy.pid, signal.SIGKILL)
        events = await job
        return events

    events = await run_with(workers_of("--step-seconds", "0.1", number=2, first_backoff_seconds=30.0), scenario)
    assert isinstance(events[-1], Done)
    assert len([event for event in events if isinstance(event, Portrait)]) == 1
    assert len([event for event in events if isinstance(event, Started)]) == 1


async def test_jobs_go_to_the_worker_with_the_fewest_images():
    async def scenario(workers):
        await until(lambda: len(workers.describe()) == 2)
        jobs = [
            asyncio.create_task(events_of(workers, a_job(f"job-{index}", seeds=range(size))))
            for index, size in enumerate((4, 1, 1, 1))
        ]
        await until(lambda: sum(status.jobs for status in workers.status()) == 4)
        spread = sorted(status.jobs for status in workers.status())
        await asyncio.gather(*jobs)
        return spread

    assert await run_with(workers_of("--step-seconds", "0.05", number=2), scenario) == [1, 3]


async def test_a_job_that_kills_its_worker_twice_is_failed_and_not_tried_again():
    async def scenario(workers):
        events = await events_of(workers, a_job(prompt="CRASH"))
        await until(lambda: workers.ready)
        return events, workers.status()[0].restarts

    events, restarts = await run_with(workers_of(), scenario)
    assert [(type(event), event.code, event.fault) for event in events] == [(Failed, "worker_killed", "worker")]
    assert restarts == 2


@pytest.mark.parametrize("number", [1, 2])
async def test_a_job_that_kills_workers_costs_its_mates_no_more_than_time(number):
    """Each job that a worker died with goes alone to the next, and what comes meanwhile joins none of them."""

    async def scenario(workers):
        await until(lambda: len(workers.describe()) == number)
        prompts = ["a person", "a person", "CRASH", "a person", "a person"]
        jobs = [asyncio.create_task(events_of(workers, a_job(f"{i}", p))) for i, p in enumerate(prompts)]
        await until(lambda: any(status.restarts for status in workers.status()))
        jobs += [asyncio.create_task(events_of(workers, a_job(f"late {i}"))) for i in range(3)]
        ends = [(await job)[-1] for job in jobs]
        return ends, sum(status.restarts for status in workers.status()), sum(s.jobs for s in workers.status())

    ends, restarts, jobs_left = await run_with(workers_of("--step-seconds", "0.02", number=number), scenario)
    assert [type(end) for end in ends] == [Done, Done, Failed, Done, Done, Done, Done, Done]
    assert ends[2].code == "worker_killed"
    assert (restarts, jobs_left) == (2, 0)


async def test_who_comes_while_a_suspect_has_the_worker_waits_until_it_is_gone():
    async def scenario(workers):
        suspects = [
            asyncio.create_task(events_of(workers, a_job(f"{seconds}", "STALL", deadline_seconds=seconds)))
            for seconds in (1.0, 1.5)
        ]
        await until(lambda: workers.status()[0].jobs == 2)
        os.kill(workers.status()[0].pid, signal.SIGKILL)
        await until(lambda: workers.status()[0].jobs == 1)  # one of them, alone
        late = asyncio.create_task(events_of(workers, a_job("late")))
        return [(await job)[-1] for job in (*suspects, late)]

    *suspects, late = await run_with(workers_of(), scenario)
    assert [end.code for end in suspects] == ["deadline_exceeded"] * 2
    assert isinstance(late, Done)


async def test_suspects_that_give_up_waiting_for_a_worker_of_their_own_hold_nobody_up():
    """The only warm worker is busy and closed to others until it is empty, or nobody waits for that any more."""

    async def scenario(workers):
        await until(lambda: len(workers.describe()) == 2)
        jobs = [
            asyncio.create_task(events_of(workers, a_job(f"{i}", "STALL", range(images), deadline_seconds=seconds)))
            for i, (images, seconds) in enumerate([(3, 4.0), (1, 0.8), (1, 0.8)])  # the first has a worker to itself
        ]
        await until(lambda: sum(status.jobs for status in workers.status()) == 3)
        victim = next(status for status in workers.status() if status.jobs == 2)
        os.kill(victim.pid, signal.SIGKILL)
        await until(lambda: len(workers.describe()) == 1)
        late = asyncio.create_task(events_of(workers, a_job("late")))
        await asyncio.sleep(0.1)
        waited = not late.done()
        ends = [(await job)[-1] for job in (*jobs[1:], late)]
        return waited, ends, jobs[0].done()

    workers = workers_of(number=2, first_backoff_seconds=30.0, longest_backoff_seconds=30.0)
    waited, (*suspects, late), is_busy_one_over = await run_with(workers, scenario)
    assert [end.code for end in suspects] == ["deadline_exceeded"] * 2
    assert (waited, type(late), is_busy_one_over) == (True, Done, False)


async def test_a_hung_worker_is_killed_and_its_job_times_out_in_time():
    async def scenario(workers):
        first = workers.status()[0].pid
        events = await events_of(workers, a_job(prompt="HANG", deadline_seconds=0.5))
        await until(lambda: workers.status()[0].pid not in (first, None) and workers.ready)
        return events, first

    events, first = await run_with(workers_of(heartbeat_seconds=0.6), scenario)
    assert [event.code for event in events] == ["deadline_exceeded"]
    with pytest.raises(ProcessLookupError):
        os.kill(first, 0)


async def test_a_stopped_worker_without_a_heartbeat_is_killed_and_its_job_moves_on():
    async def scenario(workers):
        job = asyncio.create_task(events_of(workers, a_job()))
        await until(lambda: workers.status()[0].jobs == 1)
        os.kill(workers.status()[0].pid, signal.SIGSTOP)
        return await job

    events = await run_with(workers_of("--step-seconds", "0.1", heartbeat_seconds=0.6), scenario)
    assert isinstance(events[-1], Done)


async def test_a_worker_that_says_it_is_broken_at_its_first_start_ends_the_service_with_its_reason():
    workers = workers_of("--broken", "unet.safetensors: the hash is wrong")
    await workers.start()
    try:
        reason, state = await asyncio.wait_for(workers.gave_up(), 10), workers.status()[0].state
    finally:
        await workers.stop()
    assert "unet.safetensors: the hash is wrong" in reason
    assert state == "failed"


async def test_a_crash_loop_is_given_up_after_the_allowed_number():
    workers = SupervisedWorkers([Setup()], launcher=fake_process("--no-such-option"), policy=QUICK)
    await workers.start()
    try:
        reason, restarts = await asyncio.wait_for(workers.gave_up(), 20), workers.status()[0].restarts
    finally:
        await workers.stop()
    assert "5 crashes" in reason
    assert "exit status 2" in reason
    assert restarts == 4


@pytest.mark.parametrize(("deadline_seconds", "end"), [(10.0, Done), (0.1, Failed)], ids=["in time", "too late"])
async def test_a_job_sent_while_no_worker_is_warm_waits_for_one_within_its_deadline(deadline_seconds, end):
    workers = workers_of("--start-seconds", "0.3")
    await workers.start()
    try:
        answer = await events_of(workers, a_job(deadline_seconds=deadline_seconds))
    finally:
        await workers.stop()
    assert isinstance(answer[-1], end)


async def test_stopping_ends_the_process_and_fails_what_it_held():
    workers = workers_of("--step-seconds", "0.2")
    await workers.start()
    await workers.wait_ready()
    pid = workers.status()[0].pid
    job = asyncio.create_task(events_of(workers, a_job()))
    await until(lambda: workers.status()[0].jobs == 1)
    await workers.stop()
    events = await job
    assert events[-1].code == "worker_stopping"
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_a_worker_process_gets_none_of_our_settings(monkeypatch):
    monkeypatch.setenv("PROOFSHEET_STYLES", "secret")

    async def scenario(workers):
        with open(f"/proc/{workers.status()[0].pid}/environ", "rb") as file:
            return file.read()

    assert b"PROOFSHEET_" not in await run_with(workers_of(), scenario)


async def test_a_real_picture_sized_job_crosses_the_socket_quickly():
    pixels = Picture(width=1536, height=1536, rgb=bytes(3 * 1536 * 1536))

    async def scenario(workers):
        job = msgspec.structs.replace(a_job(), photos=Photos(selfies=(pixels,) * 4))
        started = asyncio.get_running_loop().time()
        await events_of(workers, job)
        return asyncio.get_running_loop().time() - started

    assert await run_with(workers_of(), scenario) < 2.0


async def test_answers_over_http_come_from_the_worker_process():
    async with client_of(build_service(launcher=fake_process())) as client:
        answers = await asyncio.gather(
            *(client.post(f"/v1/portraits?seed={seed}", content=SELFIE, headers=JPEG) for seed in range(8))
        )
    assert [answer.json()["images"][0]["seed"] for answer in answers] == list(range(8))


def test_settings_of_the_face_path_reach_every_worker(monkeypatch):
    monkeypatch.setattr("service.__main__.SupervisedWorkers", lambda setups, **_: setups)
    settings = Settings(face_side=320, face_analyzer="yunet", devices=("cuda:0", "cuda:1"))
    setups = build_workers(settings, launch_process, Metrics())
    assert [(setup.face_side, setup.face_analyzer) for setup in setups] == [(320, "yunet")] * 2
    assert [setup.device for setup in setups] == ["cuda:0", "cuda:1"]


def test_all_that_a_worker_is_set_up_with_but_its_device_is_a_setting():
    """`build_workers` goes by name: a field that no setting has would keep its default."""
    assert set(Setup.__struct_fields__) - {"device"} <= set(Settings.names())
