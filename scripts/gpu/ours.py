"""Our engine over random networks: from an encoded prompt to pixels on the host, as a worker runs it."""

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from torch import Tensor

from models.adapters.instantid.adapter import IDENTITY_NET
from models.bundle.modules import Place
from models.bundle.tuning import Tuner
from models.engine.decoding import decoding_on
from models.engine.engine import Engine
from models.engine.plan import make_plan
from models.engine.rows import BatchKey, Row
from models.engine.variance_preserving import VariancePreserving
from models.sdxl.attention import ImagePrompt, keys_values_of
from models.sdxl.conditioning import Prompt, RowConditioning, time_ids_for
from models.sdxl.control import Control, ControlNet
from models.sdxl.denoiser import Denoiser
from models.sdxl.speed import Speed
from models.sdxl.vae import Decoder
from scripts.gpu.networks import Networks, PersonInputs, keypoint_picture, unit_noise
from scripts.gpu.shapes import INSTANTID, Shapes

SCALE = 0.8


@dataclass(frozen=True, slots=True)
class Case:
    adapter: str
    size: int
    batch: int


@dataclass(slots=True)
class BatchTimes:
    """Seconds of one batch from encoded prompts to pixels on the host; of each step and each decoding."""

    total: float
    steps: list[float] = field(default_factory=list)
    decodes: list[float] = field(default_factory=list)


class Ours:
    def __init__(self, shapes: Shapes, place: Place, speed: Speed, steps: int) -> None:
        self._shapes, self._place = shapes, place
        networks, self._person = Networks.random(shapes, place), PersonInputs.random(shapes, place)
        tuner = Tuner(speed, place.device, place.dtype)
        self.attention = tuner.attention
        self._plan = make_plan("euler", steps, VariancePreserving())
        self._net = ControlNet(networks.net, make_runner=tuner.steps)
        self._denoiser = Denoiser(networks.unet, nets={IDENTITY_NET: self._net}, make_runner=tuner.steps)
        self._faces = keys_values_of(networks.unet, self._person.tokens)
        for network in (networks.unet, networks.net):
            tuner.optimise(network)
        self._decoder = Decoder(networks.vae, make_runner=tuner.new_decoder())
        self._start_decoding = decoding_on(place.device, self._decoder)

    @property
    def num_recordings(self) -> int:
        return self._denoiser.num_recordings

    def warm(self, cases: Sequence[Case]) -> None:
        """The longest first, as a worker does it."""
        with self._recording():
            for case in sorted(cases, key=lambda case: (case.batch, case.size), reverse=True):
                self.take(case, seed=0)

    def take(self, case: Case, seed: int) -> BatchTimes:
        return self._run(case, seed)[0]

    def pictures(self, case: Case, seed: int) -> list[Tensor]:
        """[H, W, 3] uint8 each; raises if one is not a number."""
        return self._run(case, seed)[1]

    def flow(self, case: Case, seconds: float) -> float:
        """Pictures a second while `batch` rows are always under way: a finished one makes place for another."""
        engine, rows, made = self._engine(case), iter(self._endless(case)), 0
        for _ in range(case.batch):
            engine.add(next(rows))
        began = time.perf_counter()
        while made < case.batch or time.perf_counter() - began < seconds:
            for _ in engine.tick().finished:
                made += 1
                engine.add(next(rows))
        return made / (time.perf_counter() - began)

    def _run(self, case: Case, seed: int) -> tuple[BatchTimes, list[Tensor]]:
        engine, taken, pictures = self._engine(case), BatchTimes(0.0), dict[int, Tensor]()
        rows = self._rows(case, seed)
        began = time.perf_counter()
        for row in rows:
            engine.add(row)
        while engine.has_work:
            report = engine.tick()
            assert not report.left, f"a picture of {case} is {report.left[0][1]}"
            if report.stepped:
                taken.steps.append(report.step_ended - report.step_began)
            taken.decodes += [finished.decode_seconds for finished in report.finished]
            pictures |= {finished.row.index: finished.pixels for finished in report.finished}
        taken.total = time.perf_counter() - began
        return taken, [pictures[index] for index in range(case.batch)]

    def _engine(self, case: Case) -> Engine:
        return Engine(
            self._denoiser,
            self._decoder,
            buckets=(case.batch,),
            clock=time.perf_counter,
            start_decoding=self._start_decoding,
        )

    def _endless(self, case: Case) -> Iterator[Row]:
        seed = 0
        while True:
            yield from self._rows(replace(case, batch=1), seed := seed + 1)

    def _rows(self, case: Case, seed: int) -> list[Row]:
        noise = (unit_noise(seed, case.batch, case.size, self._shapes) * self._plan.initial_scale).to(
            self._place.device
        )
        conditioning = self._conditioning(case)
        return [
            Row(
                job_id=f"{seed}-{index}",
                index=index,
                seed=seed,
                key=BatchKey("bench", self._denoiser.name, case.size, case.size, False),
                plan=self._plan,
                conditioning=conditioning,
                guidance=1.0,
                deadline=math.inf,
                latent=latent,
            )
            for index, latent in enumerate(noise)
        ]

    def _conditioning(self, case: Case) -> RowConditioning:
        prompt = Prompt(self._person.embeds, self._person.pooled)
        plain = RowConditioning(
            personal=prompt,
            plain=prompt,
            merge_step=-1,
            negative=None,
            time_ids=time_ids_for(case.size, case.size, self._place.device, self._place.dtype),
        )
        if case.adapter != INSTANTID:
            return plain
        control = Control(
            net=IDENTITY_NET,
            hint=self._net.hint(keypoint_picture(case.size)),
            context=self._net.context(self._person.tokens),
            scale=SCALE,
            steps=range(len(self._plan)),
        )
        return replace(plain, image=ImagePrompt(self._faces, SCALE), controls=(control,))

    @contextlib.contextmanager
    def _recording(self) -> Iterator[None]:
        with self._denoiser.recording(), self._decoder.calls.recording():
            yield


Subject = Callable[[Case, int], BatchTimes]
