// graphile-worker on PostgreSQL. It deletes a job that has ended, and what the job returned is kept nowhere.
'use strict';

const { Logger, makeWorkerUtils, run: startRunner } = require('graphile-worker');
const { Pool } = require('pg');
const { countdown, inFlight, now, run, serve, timed } = require('./serve.cjs');

// One connection for each of the jobs and clients at once, and some for the library itself.
const CONNECTIONS = 20;
const logger = new Logger(() => () => {});
let pgPool;
let utils;
let task;
let serving;

function runner(workers, processor) {
  const taskList = { bench: processor };
  return startRunner({ pgPool, logger, concurrency: workers, noHandleSignals: true, taskList });
}

serve({
  async open(order) {
    task = order.task;
    pgPool = new Pool({ host: order.host, user: order.user, database: 'postgres', max: CONNECTIONS });
    pgPool.on('error', (error) => console.error(error));
    pgPool.on('connect', (client) => client.on('error', (error) => console.error(error)));
    utils = await makeWorkerUtils({ pgPool, logger });
    await utils.migrate();
  },

  async submit({ clients, calls, in_a_call: count }) {
    const jobs = Array.from({ length: count }, () => ({ identifier: 'bench', payload: task }));
    const call = count === 1 ? () => utils.addJob('bench', task) : () => utils.addJobs(jobs);
    const seconds = await timed(() => inFlight(clients, calls, call));
    await pgPool.query('truncate graphile_worker._private_jobs');
    return { seconds };
  },

  async echo({ tasks, workers, program }) {
    await utils.addJobs(Array.from({ length: tasks }, () => ({ identifier: 'bench', payload: task })));
    const { done, tick } = countdown(tasks);
    let working;
    const seconds = await timed(async () => {
      working = await runner(workers, (payload) => run([program, payload.topic]));
      working.events.on('job:complete', tick);
      await done;
    });
    await working.stop();
    return { seconds };
  },

  async serve({ workers, command }) {
    serving = { over: () => {} };
    const working = await runner(workers, () => run(command));
    working.events.on('job:complete', () => serving.over());
  },

  async one() {
    const over = new Promise((resolve) => { serving.over = resolve; });
    const began = now();
    await utils.addJob('bench', task);
    await over;
    return { began: Number(began) };
  },
});
