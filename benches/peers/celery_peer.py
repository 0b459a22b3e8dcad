"""Celery with Redis as broker and as store of results. Its worker is a process of its own with a pool of processes; late
acknowledgement, so that a task of a worker that dies is given to another."""

import os
import subprocess
import sys
import time

from celery import Celery
from redis import Redis
from serve import run, serve, timed

SOCKET = os.environ["BENCH_REDIS"]
QUEUE = "celery"

app = Celery("celery_peer")
app.conf.update(
    broker_url=f"redis+socket://{SOCKET}?virtual_host=0",
    # A database of its own, so that counting its keys counts results.
    result_backend=f"redis+socket://{SOCKET}?virtual_host=1",
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    broker_connection_retry_on_startup=True,
)


@app.task
def command(arguments):
    return run(arguments)


@app.task
def held(task):
    return None


results = Redis(unix_socket_path=SOCKET, db=1)
broker = Redis(unix_socket_path=SOCKET, db=0)
state = {}


def wait_for(is_so, what):
    began = time.monotonic()
    while not is_so():
        if time.monotonic() - began > 300:
            raise TimeoutError(what)
        time.sleep(0.005)


def open_queue(order):
    state["task"] = order["task"]


def submit(order):
    def calls():
        for _ in range(order["calls"]):
            held.delay(state["task"])

    took = timed(calls)
    broker.delete(QUEUE)
    return took


def worker(workers):
    """Starts it once and waits until it answers."""
    if "worker" in state:
        return
    program = [sys.executable, "-m", "celery", "-A", "celery_peer", "worker", "--concurrency", str(workers)]
    quiet = ["--pool", "prefork", "--loglevel", "ERROR", "--without-gossip", "--without-mingle"]
    here = os.path.dirname(os.path.abspath(__file__))
    state["worker"] = subprocess.Popen(program + quiet, stdin=subprocess.DEVNULL, stdout=sys.stderr, cwd=here)
    wait_for(lambda: app.control.ping(timeout=0.5), "the worker does not answer")


def echo(order):
    worker(order["workers"])
    # It has its processes already, and takes nothing until it is told to.
    app.control.cancel_consumer(QUEUE, reply=True)
    results.flushdb()
    for _ in range(order["tasks"]):
        command.delay([order["program"], state["task"]["topic"]])

    def all_of_them():
        app.control.add_consumer(QUEUE)
        wait_for(lambda: results.dbsize() >= order["tasks"], "the tasks do not end")

    took = timed(all_of_them)
    results.flushdb()
    return took


def start_worker(order):
    worker(order["workers"])
    app.control.add_consumer(QUEUE, reply=True)
    state["arguments"] = order["command"]


def one(order):
    results.flushdb()
    began = time.monotonic_ns()
    command.delay(state["arguments"])
    wait_for(lambda: results.dbsize() >= 1, "the task does not end")
    return {"began": began}


if __name__ == "__main__":
    try:
        serve({"open": open_queue, "submit": submit, "echo": echo, "serve": start_worker, "one": one})
    finally:
        if "worker" in state:
            state["worker"].terminate()
            state["worker"].wait()
