"""Huey on SQLite with synchronous=FULL. Its consumer is a set of threads in this process, as many as workers are wanted; what a
task returns is stored by Huey."""

import threading
import time

from huey import SqliteHuey
from huey.signals import SIGNAL_COMPLETE, SIGNAL_ERROR
from serve import run, serve, timed

state = {}


class Done:
    """Counts tasks that are over, their results stored."""

    def __init__(self):
        self.count = 0
        self.changed = threading.Condition()

    def tick(self):
        with self.changed:
            self.count += 1
            self.changed.notify_all()

    def wait(self, wanted):
        with self.changed:
            if not self.changed.wait_for(lambda: self.count >= wanted, timeout=300):
                raise TimeoutError(f"{self.count} of {wanted} tasks are over")


def open_queue(order):
    huey = SqliteHuey("bench", filename=order["file"], fsync=True)
    done = Done()

    @huey.task()
    def command(arguments):
        return run(arguments)

    @huey.task()
    def held(task):
        return None

    @huey.signal(SIGNAL_COMPLETE, SIGNAL_ERROR)
    def over(signal, task, error=None):
        done.tick()

    state.update(huey=huey, done=done, command=command, held=held, task=order["task"])


def submit(order):
    def calls():
        for _ in range(order["calls"]):
            state["held"](state["task"])

    took = timed(calls)
    state["huey"].flush()
    return took


def consumer(workers):
    one = state["huey"].create_consumer(workers=workers, worker_type="thread", periodic=False)
    one.start()
    return one


def echo(order):
    wanted = state["done"].count + order["tasks"]
    for _ in range(order["tasks"]):
        state["command"]([order["program"], state["task"]["topic"]])
    working = []

    def all_of_them():
        working.append(consumer(order["workers"]))
        state["done"].wait(wanted)

    took = timed(all_of_them)
    working[0].stop(graceful=True)
    state["huey"].flush()
    return took


def start_worker(order):
    state["arguments"] = order["command"]
    state["consumer"] = consumer(order["workers"])


def one(order):
    wanted = state["done"].count + 1
    began = time.monotonic_ns()
    state["command"](state["arguments"])
    state["done"].wait(wanted)
    return {"began": began}


serve({"open": open_queue, "submit": submit, "echo": echo, "serve": start_worker, "one": one})
