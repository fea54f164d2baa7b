// The tasks of the run, and what is done with each.

import { createHash, randomBytes } from 'node:crypto';

export function sha256(bytes) {
  return createHash('sha256').update(bytes).digest('hex');
}

export function specs(command, count) {
  return Array.from({ length: count }, (_, n) => {
    const data = randomBytes(1 + ((n * 37) % 4096));
    return {
      command,
      payload: { data, content_type: 'application/octet-stream' },
      priority: n % 10,
      retry_policy: { initial_backoff: { seconds: '0', nanos: 1e8 }, max_attempts: 5 },
      headers: { n: String(n), sha256: sha256(data) },
    };
  });
}

export function expectedResult(data) {
  const result = { sha256: sha256(data), size: data.length };
  return { data: Buffer.from(JSON.stringify(result)), content_type: 'application/json' };
}

/** Ten in a thousand are held beyond their lease, ten fail once, ten are given back once. */
export class Plan {
  constructor({ leaseMs, normalMs }) {
    this.leaseMs = leaseMs;
    this.normalMs = normalMs;
    this.abandoned = new Set();
    this.mistakes = [];
  }

  neglects(task) {
    return task.spec.headers.n === '500' && task.attempt === 1;
  }

  of(task) {
    const n = Number(task.spec.headers.n);
    const hold = this.normalMs;
    if (this.neglects(task)) return { act: 'neglect' };
    if (n % 100 === 3) return { hold: this.leaseMs * 1.4, act: 'complete' };
    if (n % 100 === 7 && task.attempt === 1) return { hold, act: 'fail' };
    if (n % 100 === 11 && !this.abandoned.has(n)) {
      this.abandoned.add(n);
      return { hold, act: 'abandon' };
    }
    const attempt = n % 100 === 7 || n === 500 ? 2 : 1;
    if (task.attempt !== attempt) this.mistakes.push(`task ${n} is at attempt ${task.attempt}`);
    return { hold, act: n % 2 ? 'complete' : 'report' };
  }
}
