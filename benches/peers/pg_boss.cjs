// pg-boss on PostgreSQL, with its LISTEN/NOTIFY turned on, so that it does not only poll. What a job returns is stored with the job.
'use strict';

const { PgBoss } = require('pg-boss');
const { Pool } = require('pg');
const { countdown, inFlight, now, run, serve, timed } = require('./serve.cjs');

const CONNECTIONS = 20;
// Its workers pause after every fetch that does not fill a batch, and never after one that does.
const BATCH = 2;
let boss;
let pgPool;
let task;
let serving;
let queue = 0;

/** A queue of its own for each measurement, so that none waits for the removal of another's jobs. */
async function fresh() {
  queue += 1;
  const name = `bench${queue}`;
  await boss.createQueue(name, { notify: true });
  return name;
}

async function work(name, workers, processor) {
  const options = { localConcurrency: workers / BATCH, batchSize: BATCH, burstWhenBatchFull: true, perJobResults: true };
  const one = async (job) => ({ id: job.id, status: 'completed', output: { piece: await processor(job.data) } });
  await boss.work(name, options, (jobs) => Promise.all(jobs.map(one)));
}

/** Looks until so many jobs are completed: a handler's end is not yet its job's. */
async function completed(name, count) {
  for (;;) {
    const { rows } = await pgPool.query("select count(*)::int as n from pgboss.job where name = $1 and state = 'completed'", [name]);
    if (rows[0].n >= count) return;
    await new Promise((resolve) => { setTimeout(resolve, 5); });
  }
}

serve({
  async open(order) {
    task = order.task;
    const options = { host: order.host, user: order.user, database: 'postgres' };
    pgPool = new Pool({ ...options, max: 2 });
    boss = new PgBoss({ ...options, max: CONNECTIONS, useListenNotify: true });
    boss.on('error', (error) => console.error(error));
    boss.on('warning', (warning) => console.error(warning));
    await boss.start();
  },

  async submit({ clients, calls, in_a_call: count }) {
    const name = await fresh();
    const jobs = Array.from({ length: count }, () => ({ data: task }));
    const call = count === 1 ? () => boss.send(name, task) : () => boss.insert(name, jobs);
    const seconds = await timed(() => inFlight(clients, calls, call));
    await boss.deleteQueue(name);
    return { seconds };
  },

  async echo({ tasks, workers, program }) {
    const name = await fresh();
    await boss.insert(name, Array.from({ length: tasks }, () => ({ data: task })));
    const { done, tick } = countdown(tasks);
    const seconds = await timed(async () => {
      await work(name, workers, async (data) => {
        const piece = await run([program, data.topic]);
        tick();
        return piece;
      });
      await done;
      await completed(name, tasks);
    });
    await boss.offWork(name);
    await boss.deleteQueue(name);
    return { seconds };
  },

  async serve({ workers, command }) {
    serving = { name: await fresh(), count: 0 };
    await work(serving.name, workers, () => run(command));
  },

  async one() {
    serving.count += 1;
    const began = now();
    await boss.send(serving.name, task);
    await completed(serving.name, serving.count);
    return { began: Number(began) };
  },
});
