// BullMQ: one Queue, and a Worker in the same process where jobs are to run. What a job returns is stored by BullMQ with the job.
'use strict';

const { Queue, Worker } = require('bullmq');
const { countdown, inFlight, now, run, serve, timed } = require('./serve.cjs');

const NAME = 'bench';
let connection;
let queue;
let task;
let serving;

/** Runs everything that waits, and gives the seconds from the worker's start to the last job's end. */
async function drain(tasks, workers, processor) {
  const { done, tick } = countdown(tasks);
  let worker;
  let failed;
  const seconds = await timed(async () => {
    worker = new Worker(NAME, processor, { connection, concurrency: workers });
    worker.on('completed', tick);
    worker.on('failed', (_, error) => { failed = error; tick(); });
    worker.on('error', (error) => { failed = error; });
    await done;
  });
  await worker.close();
  if (failed) throw failed;
  await queue.obliterate({ force: true });
  return { seconds };
}

async function fill(count) {
  for (let left = count; left > 0; left -= 500) {
    const jobs = Array.from({ length: Math.min(left, 500) }, () => ({ name: NAME, data: task }));
    await queue.addBulk(jobs);
  }
}

serve({
  async open(order) {
    connection = { path: order.socket, maxRetriesPerRequest: null };
    task = order.task;
    queue = new Queue(NAME, { connection });
    await queue.waitUntilReady();
  },

  async submit({ clients, calls, in_a_call: count }) {
    const jobs = Array.from({ length: count }, () => ({ name: NAME, data: task }));
    const call = count === 1 ? () => queue.add(NAME, task) : () => queue.addBulk(jobs);
    const seconds = await timed(() => inFlight(clients, calls, call));
    await queue.obliterate({ force: true });
    return { seconds };
  },

  async echo({ tasks, workers, program }) {
    await fill(tasks);
    return drain(tasks, workers, (job) => run([program, job.data.topic]));
  },

  async noop({ tasks, workers, piece }) {
    await fill(tasks);
    return drain(tasks, workers, async () => piece);
  },

  /** From now on a worker runs the command for each job. */
  async serve({ workers, command }) {
    const worker = new Worker(NAME, () => run(command), { connection, concurrency: workers });
    serving = { worker, over: () => {} };
    worker.on('completed', () => serving.over());
    await worker.waitUntilReady();
  },

  /** A single job for it. */
  async one() {
    const over = new Promise((resolve) => { serving.over = resolve; });
    const began = now();
    await queue.add(NAME, task);
    await over;
    return { began: Number(began) };
  },

  async fill({ count }) {
    await fill(count);
  },
});
