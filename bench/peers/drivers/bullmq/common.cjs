// What producer and worker share; bench/peers/drivers/tasks.py says what a payload is.
"use strict";

const crypto = require("node:crypto");
const fs = require("node:fs");
const path = require("node:path");

const FILLER = "-".repeat(28);
const DAMAGED = 0xffffffff;

const sha256 = (text) => crypto.createHash("sha256").update(text).digest("hex");

function payload(number) {
  const body = String(number).padStart(8, "0") + FILLER;
  return body + sha256(body);
}

let file;

function handle(text) {
  file ??= fs.openSync(path.join(process.env.BENCH_FOLDER, `seen.${process.pid}`), "a");
  const whole = text.length === 100 && sha256(text.slice(0, 36)) === text.slice(36);
  const note = Buffer.alloc(4);
  note.writeUInt32LE(whole ? Number(text.slice(0, 8)) : DAMAGED);
  fs.writeSync(file, note);
}

// BullMQ wants connections of workers to wait for the store for ever.
const connection = { host: "127.0.0.1", port: Number(process.env.BENCH_PORT), maxRetriesPerRequest: null };

const version = ["bullmq", "ioredis"]
  .map((name) => require(`${name}/package.json`).version)
  .join(" + ioredis ");

module.exports = { connection, handle, payload, version };
