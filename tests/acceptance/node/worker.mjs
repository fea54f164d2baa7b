// A worker: claims by a stream, heartbeats everything it holds, reports every way there is.

import { setTimeout as sleep } from 'node:timers/promises';
import { status } from '@grpc/grpc-js';
import { detailsOf, duration, milliseconds } from './api.mjs';
import { expectedResult, sha256 } from './tasks.mjs';

const HEARTBEAT_MS = 1_000;
const REOPEN_MS = 100;

export class Worker {
  constructor(api, { command, leaseMs, maxOutstanding, plan, onCompleted, onProblem }) {
    this.api = api;
    this.request = {
      worker_id: `node-${process.pid}`,
      commands: [command],
      max_outstanding: maxOutstanding,
      max_batch_size: 25,
      lease_duration: duration(leaseMs),
      idle_interval: { seconds: '1', nanos: 0 },
    };
    this.plan = plan;
    this.onCompleted = onCompleted;
    this.onProblem = onProblem;
    this.held = new Map(); // fence -> lease, all that are to be kept alive
    this.beaten = new Set(); // fences that a heartbeat has extended
    this.received = []; // every claim
    this.completions = new Map(); // task id -> accepted reports
    this.counts = {
      streams: 0,
      drains: 0,
      failed: 0,
      abandoned: 0,
      corrupt: 0,
      unsafeFences: 0,
    };
    this.problems = [];
    this.neglected = undefined; // a lease
    this.leaseLost = undefined; // what became of it
    this.stopped = false;
  }

  #problem(text) {
    this.problems.push(text);
    process.stderr.write(`${text}\n`);
    this.onProblem();
  }

  start() {
    this.#open();
    this.beating = this.#beat();
  }

  async stop() {
    this.stopped = true;
    this.stream.cancel();
    await this.beating;
  }

  #open() {
    if (this.stopped) return;
    const stream = this.api.streamClaim(this.request);
    this.stream = stream;
    let delay = REOPEN_MS;
    stream.on('data', (message) => {
      if (message.message === 'opened') this.counts.streams += 1;
      else if (message.message === 'batch') this.#take(message.batch.tasks);
      else if (message.message === 'drain') {
        this.counts.drains += 1;
        delay = milliseconds(message.drain.reconnect_delay);
      }
    });
    const reopen = () => {
      if (stream.over) return;
      stream.over = true;
      setTimeout(() => this.#open(), delay);
    };
    stream.on('end', reopen);
    stream.on('error', (error) => {
      if (!this.stopped && error.code !== status.UNAVAILABLE) this.#problem(`stream: ${error}`);
      reopen();
    });
  }

  #take(tasks) {
    for (const task of tasks) {
      this.received.push(task);
      if (!Number.isSafeInteger(Number(task.lease.fence))) this.counts.unsafeFences += 1;
      const { payload, headers } = task.spec;
      if (sha256(payload.data) !== headers.sha256) this.counts.corrupt += 1;
      if (!this.plan.neglects(task)) this.held.set(task.lease.fence, task.lease);
    }
    const leases = tasks.map((task) => task.lease).filter(({ fence }) => this.held.has(fence));
    this.#heartbeat(leases)
      .then(() => Promise.all(tasks.map((task) => this.#work(task))))
      .catch((error) => this.#problem(`${error.code ?? ''} ${error.stack}`));
  }

  async #beat() {
    while (!this.stopped) {
      await sleep(HEARTBEAT_MS);
      await this.#heartbeat([...this.held.values()]);
    }
  }

  async #heartbeat(leases) {
    if (leases.length === 0) return;
    const request = { leases: leases.map((lease) => ({ lease })) };
    const { directives } = await this.api.repeat('Heartbeat', request);
    const lost = new Set(directives.map(({ lease }) => lease.fence));
    for (const { fence } of leases) {
      // One that was reported while the heartbeat was on its way is rightly told as lost.
      if (!lost.has(fence)) this.beaten.add(fence);
      else if (this.held.has(fence)) this.#problem(`lost despite heartbeats: ${fence}`);
    }
  }

  async #work(task) {
    const { lease } = task;
    const { hold, act } = this.plan.of(task);
    if (act === 'neglect') {
      this.neglected = lease;
      return;
    }
    if (lease.task_id === this.neglected?.task_id) await this.#tryStale(this.neglected);
    await sleep(hold);
    this.held.delete(lease.fence);
    if (act === 'fail') {
      const error = { type: 'foreign.Once', message: 'the first attempt fails' };
      const { state } = await this.api.repeat('Fail', { lease, error });
      if (state !== 'TASK_STATE_SCHEDULED') this.#problem(`failed into ${state}`);
      this.counts.failed += 1;
    } else if (act === 'abandon') {
      await this.api.repeat('Abandon', { lease });
      this.counts.abandoned += 1;
    } else {
      const complete = { lease, result: expectedResult(task.spec.payload.data) };
      if (act === 'complete') await this.api.repeat('Complete', complete);
      else await this.#report([{ complete }]);
      this.#completed(task);
    }
  }

  async #report(outcomes) {
    const { failures } = await this.api.repeat('Report', { outcomes });
    for (const failure of failures) this.#problem(`report: ${failure.reason}`);
  }

  #completed(task) {
    const id = task.lease.task_id;
    this.completions.set(id, (this.completions.get(id) ?? 0) + 1);
    this.onCompleted(this.completions.size);
  }

  /** A lease that ended without heartbeats: it is told as lost, and late reports are refused. */
  async #tryStale(lease) {
    const stale = { lease, result: { data: Buffer.from('stale'), content_type: 'text/plain' } };
    try {
      await this.api.repeat('Complete', stale);
      this.#problem('a stale fence was accepted');
    } catch (error) {
      this.leaseLost = { code: error.code, ...detailsOf(error).ErrorInfo };
    }
    const { failures } = await this.api.repeat('Report', { outcomes: [{ complete: stale }] });
    this.leaseLost.inReport = failures.map(({ index, code, reason }) => ({ index, code, reason }));
    const { directives } = await this.api.repeat('Heartbeat', { leases: [{ lease }] });
    this.leaseLost.inHeartbeat = directives.map(({ kind }) => kind);
  }
}
