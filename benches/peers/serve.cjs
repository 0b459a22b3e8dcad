// What the drivers of peers in node share. The bench writes one order a line, in JSON with the name under "do"; each is answered with
// one line: {"ok": …} or {"error": "…"}. Standard output belongs to these answers, everything else goes to standard error.
//
// "began" is in nanoseconds of the monotonic clock, which the bench reads, too.
'use strict';

const { spawn } = require('node:child_process');
const readline = require('node:readline');

/** The monotonic clock, in nanoseconds. */
const now = () => process.hrtime.bigint();

/** Seconds since a look at the clock. */
const since = (began) => Number(now() - began) / 1e9;

/** How long something takes, in seconds. */
async function timed(work) {
  const began = now();
  await work();
  return since(began);
}

/** Runs a command to its end and gives what it wrote. */
function run([program, ...args]) {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'ignore'] });
    let output = '';
    child.stdout.setEncoding('utf8');
    child.stdout.on('data', (piece) => { output += piece; });
    child.on('error', reject);
    child.on('close', (code) => (code === 0 ? resolve(output) : reject(new Error(`${program} ended with ${code}`))));
  });
}

/** A promise and whoever keeps it, for `count` events. */
function countdown(count) {
  let left = count;
  let resolve;
  const done = new Promise((kept) => { resolve = kept; });
  return { done, tick: () => { left -= 1; if (left === 0) resolve(); } };
}

/** `calls` calls, `clients` of them in flight at once. */
async function inFlight(clients, calls, call) {
  let left = calls;
  const client = async () => {
    while (left > 0) {
      left -= 1;
      await call();
    }
  };
  await Promise.all(Array.from({ length: clients }, client));
}

/** Carries out orders one after the other until standard input ends. */
async function serve(orders) {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const order = JSON.parse(line);
    let answer;
    try {
      const done = orders[order.do];
      if (!done) throw new Error(`unknown order ${order.do}`);
      answer = { ok: (await done(order)) ?? {} };
    } catch (error) {
      answer = { error: String(error && error.stack ? error.stack : error) };
    }
    process.stdout.write(`${JSON.stringify(answer)}\n`);
  }
  process.exit(0);
}

module.exports = { countdown, inFlight, now, run, serve, timed };
