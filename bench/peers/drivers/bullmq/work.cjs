// A BullMQ worker, which acknowledges after the work and fetches the next job in the same script.
"use strict";

const { Worker } = require("bullmq");

const { connection, handle } = require("./common.cjs");

const worker = new Worker("bench", async (job) => handle(job.data.text), {
  connection,
  concurrency: 100,
});
worker.on("error", (error) => console.error(error));
worker.on("failed", (_, error) => console.error(error));
