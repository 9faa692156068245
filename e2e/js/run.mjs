// Runs Lambda operations with the AWS SDK for JavaScript v3.
//
// Standard input: a JSON list of {operation, input}; bytes are written {"$base64": "…"}. Standard output: a JSON list
// of {output} or {error: {name, status, message}}, in the same order.
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

// The packages may be installed elsewhere than this file: EPHYRA_E2E_JS names the folder.
const require = createRequire(pathToFileURL(`${process.env.EPHYRA_E2E_JS}/`));
const sdk = require('@aws-sdk/client-lambda');

const decode = (value) => {
  if (Array.isArray(value)) return value.map(decode);
  if (value === null || typeof value !== 'object') return value;
  if ('$base64' in value) return Buffer.from(value.$base64, 'base64');
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, decode(inner)]));
};

const encode = (_, value) => (value instanceof Uint8Array ? Buffer.from(value).toString('utf8') : value);

const chunks = [];
for await (const chunk of process.stdin) chunks.push(chunk);
const requests = JSON.parse(Buffer.concat(chunks).toString('utf8'));

const client = new sdk.LambdaClient({ maxAttempts: 1 });
const results = [];
for (const { operation, input } of requests) {
  try {
    const output = await client.send(new sdk[`${operation}Command`](decode(input)));
    if (output.EventStream) {
      const parts = [];
      for await (const part of output.EventStream) parts.push(part);
      output.EventStream = parts.map((part) => (part.PayloadChunk ? { ...part, text: Buffer.from(part.PayloadChunk.Payload).toString() } : part));
    }
    results.push({ output });
  } catch (error) {
    results.push({ error: { name: error.name, status: error.$metadata?.httpStatusCode, message: error.message } });
  }
}
process.stdout.write(JSON.stringify(results, encode));
