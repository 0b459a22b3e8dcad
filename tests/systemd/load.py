#!/usr/bin/env python3
"""Submits tasks at a steady rate over several connections, as contentctl does: each with a key of its own, and again with the
same key after `Draining` or a cut connection. Ends on SIGTERM. Prints one JSON object of what it saw; the ids that were
acknowledged go to the file of the third argument, one `topic task_id` a line.

    load.py SOCKET SUBMITS_A_SECOND FILE
"""
import collections
import json
import signal
import socket
import sys
import threading
import time

SOCKET, RATE, FILE = sys.argv[1], float(sys.argv[2]), sys.argv[3]
CONNECTIONS = 8
stop = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: stop.set())
lock = threading.Lock()
seen = collections.Counter()
slowest = 0.0
acknowledged = open(FILE, "w", buffering=1)


class Cut(Exception):
    pass


class Connection:
    def __init__(self):
        self.socket = None
        self.buffer = b""

    def call(self, message):
        if self.socket is None:
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.settimeout(120)
            try:
                self.socket.connect(SOCKET)
            except OSError as error:
                self.close()
                with lock:
                    seen["refused: " + error.strerror] += 1
                time.sleep(0.05)
                raise Cut from error
        try:
            self.socket.sendall(message)
            while b"\0" not in self.buffer:
                more = self.socket.recv(65536)
                if not more:
                    raise Cut
                self.buffer += more
        except OSError as error:
            self.close()
            raise Cut from error
        except Cut:
            self.close()
            raise
        answer, self.buffer = self.buffer.split(b"\0", 1)
        return json.loads(answer)

    def close(self):
        self.socket.close()
        self.socket, self.buffer = None, b""


def submit_all(number):
    global slowest
    connection, count, begun = Connection(), 0, time.monotonic()
    while not stop.is_set():
        count += 1
        ahead = begun + count * CONNECTIONS / RATE - time.monotonic()
        if ahead > 0:
            time.sleep(ahead)
        topic = f"load-{number}-{count}"
        task = {"account": "load", "topic": topic, "key": topic}
        message = json.dumps({"method": "io.contentd.Tasks.Submit", "parameters": {"task": task}}).encode() + b"\0"
        asked = time.monotonic()
        while True:
            try:
                answer = connection.call(message)
            except Cut:
                with lock:
                    seen["again after a cut"] += 1
                continue
            if answer.get("error") == "io.contentd.Daemon.Draining":
                with lock:
                    seen["again after Draining"] += 1
                connection.close()
                continue
            break
        with lock:
            slowest = max(slowest, time.monotonic() - asked)
            if "error" in answer:
                seen["error: " + answer["error"]] += 1
            else:
                seen["acknowledged"] += 1
                acknowledged.write(topic + " " + answer["parameters"]["task_id"] + "\n")


threads = [threading.Thread(target=submit_all, args=(number,)) for number in range(CONNECTIONS)]
begun = time.monotonic()
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
acknowledged.close()
took = time.monotonic() - begun
print(json.dumps({**seen, "a_second": round(seen["acknowledged"] / took), "slowest_s": round(slowest, 3)}))
