// Enqueues tasks, works on them through whatever the server does meanwhile, reads the results.
// Arguments by environment; a JSON summary on stdout; progress on stderr.

import { Api } from './api.mjs';
import { Plan, expectedResult, specs } from './tasks.mjs';
import { Worker } from './worker.mjs';

const { CODEQ_ADDRESS, CODEQ_TOKEN, PROTOS } = process.env;
const COMMAND = 'foreign';
const COUNT = 1_000;
const LEASE_MS = 5_000;
const AT_A_TIME = 50;

/** Calls `work` for every item, a few at a time. */
async function each(items, work) {
  const left = items.entries();
  const lane = async () => {
    for (const [at, item] of left) await work(item, at);
  };
  await Promise.all(Array.from({ length: AT_A_TIME }, lane));
}

async function enqueue(api, tasks) {
  const ids = new Array(tasks.length);
  const singles = tasks.slice(0, 200);
  await each(singles, async (task, at) => {
    ids[at] = (await api.call('Enqueue', { task })).task_id;
  });
  for (let from = singles.length; from < tasks.length; from += 200) {
    const batch = tasks.slice(from, from + 200);
    const { results, failures } = await api.call('BatchEnqueue', { tasks: batch, atomic: true });
    if (failures.length) throw new Error(JSON.stringify(failures[0]));
    results.forEach(({ task_id: id }, at) => {
      ids[from + at] = id;
    });
  }
  return ids;
}

async function readBack(api, ids, tasks) {
  const found = { completed: 0, rightResults: 0, droppedPayloads: 0 };
  await each(ids, async (id, at) => {
    const { task } = await api.repeat('GetTask', { task_id: id, view: 'TASK_VIEW_FULL' });
    const { data } = tasks[at].payload;
    if (task.state === 'TASK_STATE_COMPLETED') found.completed += 1;
    if (task.result?.data.equals(expectedResult(data).data)) found.rightResults += 1;
    if (task.spec.payload === null) found.droppedPayloads += 1;
  });
  return found;
}

async function work(api) {
  const plan = new Plan({ leaseMs: LEASE_MS, normalMs: 100 });
  let worker;
  await new Promise((resolve) => {
    const onCompleted = (count) => {
      if (count === COUNT / 2) process.stderr.write('half is done\n');
      if (count === COUNT) resolve();
    };
    worker = new Worker(api, {
      command: COMMAND,
      leaseMs: LEASE_MS,
      maxOutstanding: 100,
      plan,
      onCompleted,
      onProblem: resolve, // nobody waits for the end of what has gone wrong
    });
    worker.start();
  });
  await worker.stop();
  worker.problems.push(...plan.mistakes);
  return worker;
}

const api = new Api({ address: CODEQ_ADDRESS, token: CODEQ_TOKEN, protos: PROTOS });
const tasks = specs(COMMAND, COUNT);
const ids = await enqueue(api, tasks);
const worker = await work(api);
const known = new Set(ids);
const readings = await readBack(api, ids, tasks);
const { queues } = await api.repeat('AdminQueues', { commands: [COMMAND] });
const unbeaten = worker.received.filter(({ lease }) => !worker.beaten.has(lease.fence));

console.log(
  JSON.stringify({
    enqueued: known.size,
    claims: worker.received.length,
    unknown: worker.received.filter(({ lease }) => !known.has(lease.task_id)).length,
    completedOnce: [...worker.completions.values()].filter((count) => count === 1).length,
    fences: new Set(worker.received.map(({ lease }) => lease.fence)).size,
    fencesAreText: worker.received.every(({ lease }) => typeof lease.fence === 'string'),
    unbeaten: unbeaten.map(({ spec }) => Number(spec.headers.n)),
    ...worker.counts,
    ...readings,
    leaseLost: worker.leaseLost,
    problems: worker.problems,
    queue: queues[0],
  }),
);
api.close();
