"""A worker on a thread of the test, and what is sent to it."""

import io
import threading

import numpy as np
from PIL import Image

from models.wire.messages import Shutdown
from models.wire.picture import Picture
from models.worker.worker import Worker
from tests.orders import order_of

WAIT_SECONDS = 60


def picture_of(pixels):
    return Picture(width=pixels.shape[1], height=pixels.shape[0], rgb=pixels.tobytes())


def pixels_of(data):
    return np.asarray(Image.open(io.BytesIO(data)))


def portrait_order(selfie, job_id="job", *, seeds=(1,), **changes):
    given = {
        "job_id": job_id,
        "selfies": [selfie],
        "prompt": "portrait photo of a woman wearing a hat",
        "subject": "woman",
        "seeds": list(seeds),
        "deadline_seconds": 30.0,
    }
    return order_of(**(given | changes))


class Harness:
    """Runs a worker on a thread and waits for what it sends."""

    def __init__(self, setup):
        self.sent = []
        self._arrived = threading.Condition()
        self.worker = Worker(setup, self._take)
        self._thread = threading.Thread(target=self.worker.run, daemon=True)
        self._thread.start()

    def _take(self, message):
        with self._arrived:
            self.sent.append(message)
            self._arrived.notify_all()

    def wait(self, kind, job_id=None):
        """The first message of `kind` (of that job), once it is there."""

        def found():
            return [m for m in self.sent if isinstance(m, kind) and (job_id is None or m.job_id == job_id)]

        with self._arrived:
            assert self._arrived.wait_for(lambda: bool(found()), WAIT_SECONDS), f"no {kind} in {self.sent}"
            return found()[0]

    def wait_until(self, condition):
        with self._arrived:
            assert self._arrived.wait_for(condition, WAIT_SECONDS), f"not so after {self.sent}"

    def of(self, job_id):
        return [m for m in self.sent if getattr(m, "job_id", None) == job_id]

    def stop(self):
        self.worker.receive(Shutdown())
        self._thread.join(WAIT_SECONDS)
        assert not self._thread.is_alive()
        self.worker.check_books()
