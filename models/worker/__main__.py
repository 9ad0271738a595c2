"""`python -m models.worker --fd N --tray-socket M`: speak frames over an inherited socket until told to stop."""

import logging
import os
import socket
import sys
import threading

import click

from models.wire.channel import Channel
from models.wire.messages import Shutdown
from models.wire.setup import Setup
from models.worker.worker import Worker


@click.command(help=__doc__)
@click.option("--fd", type=int, required=True, help="The inherited socket's file descriptor.")
@click.option("--tray-socket", "trays", type=int, required=True, help="That of the socket over which pixels come.")
def main(fd: int, trays: int) -> None:
    logging.basicConfig(level=logging.INFO, format="worker %(levelname)s %(message)s")
    channel = Channel(socket.socket(fileno=fd), socket.socket(fileno=trays))
    setup = channel.read()
    if not isinstance(setup, Setup):
        raise click.ClickException(f"the first message must be setup, got {type(setup).__name__}")
    logging.getLogger().setLevel(setup.log_level.upper())
    worker = Worker(setup, channel.write)
    threading.Thread(target=feed, args=(channel, worker), name="reader", daemon=True).start()
    worker.run()
    logging.shutdown()
    sys.stdout.flush()
    os._exit(0)  # to take torch apart takes a second, and gives back nothing that the system does not


def feed(channel: Channel, worker: Worker) -> None:
    """A closed socket is a shutdown: a worker never outlives its front."""
    while (message := channel.read()) is not None:
        worker.receive(message)
        del message  # somebody's selfies should not stay here until the next job comes
    worker.receive(Shutdown())


if __name__ == "__main__":
    main()
