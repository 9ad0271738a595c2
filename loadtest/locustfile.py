"""Load for a running Proofsheet: closed loop for peak throughput, open loop for the latency that callers meet.

    locust -f loadtest/locustfile.py OpenLoop --headless -H http://127.0.0.1:8000 --rate 5 --seconds 60 --slo-ms 5000

Every answer is timed from the moment its request was *due*. A service (or this generator) that falls behind
therefore shows up in the latencies, instead of delaying the requests that would have measured it.
Exits 1 when too few of the offered requests were answered within the objective; a refusal is a miss too. The last line
is one JSON object in every case; its `failed` says what was not good enough.
"""

import argparse
import io
import json
import math
import random
import time
from pathlib import Path
from urllib.parse import urlencode

import gevent
from arrivals import draw_steps, plan_arrivals
from gevent.pool import Pool
from locust import FastHttpUser, constant, events, task
from locust.argument_parser import LocustArgumentParser
from locust.contrib.fasthttp import ResponseContextManager
from locust.env import Environment
from locust.exception import StopUser

MOST_IN_FLIGHT = 1024
ANSWER_SECONDS = 150.0


class Scorecard:
    """What one run offered and what came back; judges it at the end. One greenlet at a time writes to it."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.draw = random.Random(options.seed)
        self.planned = 0
        self.answered_ms: list[float] = []
        self.misses: dict[str, int] = {}
        self.lags_ms: list[float] = []
        self.figures: dict[str, object] = {}  # of the run, once it was judged

    def record(self, response_time: float, exception: Exception | None, **_: object) -> None:
        if exception is None:
            self.answered_ms.append(response_time)
        else:
            self.misses[str(exception)] = self.misses.get(str(exception), 0) + 1

    def judge(self, environment: Environment) -> None:
        offered = max(self.planned, len(self.answered_ms) + sum(self.misses.values()))
        within = sum(ms <= self.options.slo_ms for ms in self.answered_ms) / offered if offered else 0.0
        lag = percentile(self.lags_ms, 0.99) if self.lags_ms else 0.0
        failed: list[str] = []
        if within < self.options.within:
            failed.append(f"{within:.2%} within {self.options.slo_ms:g} ms, wanted {self.options.within:.2%}")
        if lag > self.options.max_lag_ms:
            failed.append(f"requests left {lag:.1f} ms late: this machine is too busy to measure with")
        for reason in failed:
            print(f"FAILED: {reason}", flush=True)
            environment.process_exit_code = 1
        self.figures = {
            "offered": offered,
            "answered": len(self.answered_ms),
            "misses": self.misses,
            "within_slo": round(within, 4),
            **{f"p{q}_ms": round(percentile(self.answered_ms, q / 100), 1) for q in (50, 95, 99) if self.answered_ms},
            "send_lag_p99_ms": round(lag, 2),
            "failed": failed,
        }

    def tell(self, **_: object) -> None:
        """After all that locust prints itself."""
        print(json.dumps(self.figures), flush=True)


class PortraitUser(FastHttpUser):
    abstract = True
    network_timeout = ANSWER_SECONDS
    connection_timeout = 10.0
    scorecard: Scorecard  # the run's, given by set_up

    def on_start(self) -> None:
        options = self.scorecard.options
        self.query = {"style": options.style, "n": 1}
        self.selfie = options.selfie.read_bytes() if options.selfie else astronaut()

    def ask(self, steps: int, due: float) -> None:
        """One portrait; `due` is when it should have been asked for, on the clock of time.perf_counter."""
        with self.client.post(
            f"/v1/portraits?{urlencode(self.query | {'steps': steps})}",
            name=f"{steps} steps",
            data=self.selfie,  # pyright: ignore[reportArgumentType] - locust sends bytes as they are
            headers={"Content-Type": "image/jpeg", "Accept": "image/*"},
            catch_response=True,
        ) as response:
            response.request_meta["response_time"] = (time.perf_counter() - due) * 1000
            if response.status_code == 200 and is_image(response):
                response.success()
            else:
                response.failure(problem(response))


class ClosedLoop(PortraitUser):
    """Asks again as soon as it has its answer: unloaded latency with one user, peak throughput with many."""

    wait_time = constant(0)

    @task
    def portrait(self) -> None:
        self.ask(draw_steps(self.scorecard.draw), time.perf_counter())


class OpenLoop(PortraitUser):
    """Sends every request of the plan when it is due, whatever became of the others; then ends the run."""

    fixed_count = 1
    concurrency = MOST_IN_FLIGHT

    @task
    def replay(self) -> None:
        options = self.scorecard.options
        plan = plan_arrivals(options.arrivals, options.rate, options.seconds, options.seed)
        self.scorecard.planned = len(plan)
        in_flight = Pool(MOST_IN_FLIGHT)
        start = time.perf_counter()
        for arrival in plan:
            due = start + arrival.due_seconds
            gevent.sleep(max(0.0, due - time.perf_counter()))
            in_flight.spawn(self.send, arrival.steps, due)
        in_flight.join(timeout=ANSWER_SECONDS)
        assert self.environment.runner is not None
        gevent.spawn(self.environment.runner.quit)
        raise StopUser

    def send(self, steps: int, due: float) -> None:
        self.scorecard.lags_ms.append((time.perf_counter() - due) * 1000)
        self.ask(steps, due)


@events.init_command_line_parser.add_listener
def add_options(parser: LocustArgumentParser) -> None:
    group = parser.add_argument_group("Proofsheet")
    group.add_argument("--rate", type=float, default=2.0, help="open loop: requests per second")
    group.add_argument("--seconds", type=float, default=60.0, help="open loop: length of the schedule")
    group.add_argument("--arrivals", choices=["poisson", "even"], default="poisson", help="open loop: how they come")
    group.add_argument("--seed", type=int, default=1, help="fixes the schedule and the mix of steps")
    group.add_argument("--selfie", type=Path, help="a JPEG; without it, scikit-image's astronaut (public domain)")
    group.add_argument("--style", default="corporate")
    group.add_argument("--slo-ms", type=float, default=5000.0, help="an answer later than this is a miss")
    group.add_argument("--within", type=float, default=0.99, help="share of offered requests that must make it")
    group.add_argument("--max-lag-ms", type=float, default=20.0, help="p99 lateness of sending that is tolerable")


@events.init.add_listener
def set_up(environment: Environment, **_: object) -> None:
    assert environment.parsed_options is not None
    if len(environment.user_classes) != 1:
        raise SystemExit("name one of ClosedLoop, OpenLoop on the command line")
    PortraitUser.scorecard = scorecard = Scorecard(environment.parsed_options)
    environment.events.request.add_listener(scorecard.record)
    environment.events.quitting.add_listener(scorecard.judge)
    environment.events.quit.add_listener(scorecard.tell)


def is_image(response: ResponseContextManager) -> bool:
    return response.headers is not None and str(response.headers.get("content-type")).startswith("image/")


def problem(response: ResponseContextManager) -> str:
    """Short and alike for like failures, because they are counted by it."""
    if response.status_code == 0:
        return type(getattr(response, "error", None)).__name__
    try:
        return f"{response.status_code} {json.loads(response.text or '')['code']}"
    except (ValueError, TypeError, KeyError):
        return str(response.status_code)


def percentile(values: list[float], q: float) -> float:
    """The nearest-rank percentile: a value that was measured, never one in between."""
    return sorted(values)[max(0, math.ceil(q * len(values)) - 1)]


def astronaut() -> bytes:
    from PIL import Image
    from skimage import data

    encoded = io.BytesIO()
    Image.fromarray(data.astronaut()).save(encoded, "JPEG", quality=95)
    return encoded.getvalue()
