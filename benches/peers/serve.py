"""What the drivers of peers in Python share: see serve.cjs, whose orders and answers are the same."""

import json
import subprocess
import sys
import time
import traceback


def run(command):
    """Runs a command to its end and gives what it wrote."""
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True, text=True
    )
    return done.stdout


def timed(work):
    """How long something takes, as the answer to an order."""
    began = time.monotonic_ns()
    work()
    return {"seconds": (time.monotonic_ns() - began) / 1e9}


def serve(orders):
    """Carries out orders one after the other until standard input ends."""
    answers = sys.stdout
    # Libraries that print must not be taken for an answer.
    sys.stdout = sys.stderr
    for line in sys.stdin:
        order = json.loads(line)
        try:
            answer = {"ok": orders[order["do"]](order) or {}}
        except Exception:
            answer = {"error": traceback.format_exc()}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
