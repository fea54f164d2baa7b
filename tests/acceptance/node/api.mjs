// The API, from its .proto files alone: no generated code, no SDK.

import { fileURLToPath } from 'node:url';
import { setTimeout as sleep } from 'node:timers/promises';
import grpc from '@grpc/grpc-js';
import protoLoader from '@grpc/proto-loader';

const OPTIONS = { keepCase: true, longs: String, enums: String, defaults: true, oneofs: true };
const PATIENCE_MS = 30_000;

const STATUS = protoLoader.loadSync(fileURLToPath(new URL('status.proto', import.meta.url)), OPTIONS);

/** The google.rpc details of an error, from its trailing metadata: name -> message. */
export function detailsOf(error) {
  const [bytes] = error.metadata?.get('grpc-status-details-bin') ?? [];
  if (!bytes) return {};
  const { details } = STATUS['google.rpc.Status'].deserialize(bytes);
  const decoded = details.map(({ type_url: url, value }) => {
    const name = url.split('/').pop();
    return [name.split('.').pop(), STATUS[name]?.deserialize(value)];
  });
  return Object.fromEntries(decoded);
}

export class Api {
  constructor({ address, token, protos }) {
    const definition = protoLoader.loadSync('codeq/v1/codeq_service.proto', {
      ...OPTIONS,
      includeDirs: [protos],
    });
    const { CodeQService } = grpc.loadPackageDefinition(definition).codeq.v1;
    this.metadata = new grpc.Metadata();
    this.metadata.set('authorization', `Bearer ${token}`);
    this.stub = new CodeQService(address, grpc.credentials.createInsecure(), {
      'grpc.initial_reconnect_backoff_ms': 100,
      'grpc.max_reconnect_backoff_ms': 1000,
    });
  }

  call(method, request) {
    return new Promise((resolve, reject) => {
      const deadline = new Date(Date.now() + 10_000);
      this.stub[method](request, this.metadata, { deadline }, (error, response) =>
        error ? reject(error) : resolve(response),
      );
    });
  }

  /** For calls that may be repeated: through the restart of a server. */
  async repeat(method, request) {
    const patience = Date.now() + PATIENCE_MS;
    for (;;) {
      try {
        return await this.call(method, request);
      } catch (error) {
        if (error.code !== grpc.status.UNAVAILABLE || Date.now() > patience) throw error;
        const { RetryInfo } = detailsOf(error);
        await sleep(RetryInfo ? milliseconds(RetryInfo.retry_delay) : 100);
      }
    }
  }

  streamClaim(request) {
    return this.stub.StreamClaim(request, this.metadata);
  }

  close() {
    this.stub.close();
  }
}

export function milliseconds(duration) {
  return Number(duration.seconds) * 1000 + duration.nanos / 1e6;
}

export function duration(ms) {
  return { seconds: String(Math.floor(ms / 1000)), nanos: (ms % 1000) * 1e6 };
}
