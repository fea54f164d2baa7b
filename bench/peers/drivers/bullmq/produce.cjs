// A BullMQ producer; bench/peers/drivers/produce.py says how it talks. `adds` is like `go`, with one
// job a call and as many calls in flight as it is told.
"use strict";

const readline = require("node:readline");

const { Queue } = require("bullmq");

const { connection, payload, version } = require("./common.cjs");

const BATCH = 400;
const job = (text) => ({ name: "bench", data: { text }, opts: { removeOnComplete: true } });

async function bulk(queue, payloads) {
  for (let at = 0; at < payloads.length; at += BATCH) {
    await queue.addBulk(payloads.slice(at, at + BATCH).map(job));
  }
}

async function singles(queue, payloads, inFlight) {
  let next = 0;
  const lane = async () => {
    while (next < payloads.length) {
      const { name, data, opts } = job(payloads[next++]);
      await queue.add(name, data, opts);
    }
  };
  await Promise.all(Array.from({ length: inFlight }, lane));
}

const numbers = (first, count) => Array.from({ length: count }, (_, i) => payload(first + i));

async function main() {
  const queue = new Queue("bench", { connection });
  await queue.waitUntilReady();
  const all = numbers(0, Number(process.env.BENCH_TASKS));
  console.log("ready", version);
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const [word, ...rest] = line.split(" ");
    if (word === "go") await bulk(queue, all);
    else if (word === "adds") await singles(queue, all, Number(rest[0]));
    else await bulk(queue, numbers(Number(rest[0]), Number(rest[1])));
    console.log("done");
  }
  await queue.close();
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
