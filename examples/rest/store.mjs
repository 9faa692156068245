// Where the notes are: a file, and a server on this machine alone that the API passes requests on to. It knows nothing
// about notes but whose they are: what a request means is for the function to say.
//
//     node store.mjs FUNCTION_URL [FILE] [PORT]

import fs from "node:fs";
import http from "node:http";
import path from "node:path";

const LARGEST_BODY = 64 * 1024;
const PAGE = 51;
const TRIES = 5;

// A journal: a line for each change, on disk before it is answered.
class Journal {
  #path;
  #file;
  #lines = 0;
  #owners = new Map();

  constructor(file) {
    this.#path = file;
    const text = fs.existsSync(file) ? fs.readFileSync(file, "utf8") : "";
    // What comes after the last end of a line was being written when the machine stopped, and was never acknowledged.
    for (const line of text.slice(0, text.lastIndexOf("\n") + 1).split("\n").filter(Boolean)) {
      const { owner, id, note } = JSON.parse(line);
      this.#set(owner, id, note);
    }
    this.#rewrite();
  }

  get(owner, id) {
    return this.#owners.get(owner)?.get(id);
  }

  count(owner) {
    return this.#owners.get(owner)?.size ?? 0;
  }

  after(owner, id) {
    const ids = [...(this.#owners.get(owner)?.keys() ?? [])].filter((own) => own > id).sort();
    return ids.slice(0, PAGE).map((own) => this.get(owner, own));
  }

  // Synchronous: nothing else happens between the caller's look at a note and its change.
  put(owner, id, note) {
    const length = fs.fstatSync(this.#file).size;
    try {
      fs.appendFileSync(this.#file, `${JSON.stringify({ owner, id, note })}\n`);
      fs.fdatasyncSync(this.#file);
    } catch (error) {
      fs.ftruncateSync(this.#file, length);
      throw error;
    }
    this.#set(owner, id, note);
    this.#lines += 1;
    if (this.#lines > 10_000 && this.#lines > 2 * this.#size()) this.#rewrite();
  }

  #set(owner, id, note) {
    const notes = this.#owners.get(owner) ?? new Map();
    if (note === null) notes.delete(id);
    else notes.set(id, note);
    if (notes.size > 0) this.#owners.set(owner, notes);
    else this.#owners.delete(owner);
  }

  #size() {
    return [...this.#owners.values()].reduce((sum, notes) => sum + notes.size, 0);
  }

  // Leaves out what has been overwritten.
  #rewrite() {
    const rows = [...this.#owners].flatMap(([owner, notes]) => [...notes].map(([id, note]) => ({ owner, id, note })));
    const next = `${this.#path}.next`;
    fs.writeFileSync(next, rows.map((row) => `${JSON.stringify(row)}\n`).join(""), { mode: 0o600, flush: true });
    fs.renameSync(next, this.#path);
    // Or the old name would come back with the old file after a crash.
    const folder = fs.openSync(path.dirname(this.#path));
    fs.fsyncSync(folder);
    fs.closeSync(folder);
    if (this.#file !== undefined) fs.closeSync(this.#file);
    this.#file = fs.openSync(this.#path, "a", 0o600);
    this.#lines = rows.length;
  }
}

async function serve(request, journal, ask) {
  // The API has put it there, from the token, in place of whatever the client has sent.
  const owner = request.headers["notes-owner"];
  if (!owner) return { status: 403, body: { detail: "Requests come through the API." } };
  const url = new URL(request.url, "http://store");
  const [, root, id, ...rest] = url.pathname.split("/");
  if (root !== "notes" || rest.length > 0) return { status: 404, body: { detail: "There is no such thing." } };
  const body = await read(request);
  if (body === undefined) return { status: 413, body: { detail: `The body is longer than ${LARGEST_BODY} bytes.` } };
  const query = Object.fromEntries(url.searchParams);
  for (let left = TRIES; left > 0; left -= 1) {
    const note = id === undefined ? undefined : journal.get(owner, id);
    const page = id === undefined && request.method === "GET" ? journal.after(owner, query.after ?? "") : undefined;
    const { method, headers } = request;
    const { write, ...answer } = await ask({ method, id, query, headers, body, note, page, count: journal.count(owner) });
    if (!write) return answer;
    // Somebody else may have changed the note while the function was thinking: then it has to think again.
    if (journal.get(owner, write.id) === note) {
      journal.put(owner, write.id, write.note);
      return answer;
    }
  }
  return { status: 503, headers: { "retry-after": "1" }, body: { detail: "Too many are changing this note." } };
}

async function read(request) {
  const chunks = [];
  let length = 0;
  for await (const chunk of request) {
    length += chunk.length;
    if (length <= LARGEST_BODY) chunks.push(chunk);
  }
  return length <= LARGEST_BODY ? Buffer.concat(chunks).toString() : undefined;
}

function asks(address) {
  return async (question) => {
    const answer = await fetch(address, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(question),
      signal: AbortSignal.timeout(10_000),
    });
    if (!answer.ok) throw new Error(`the function answers ${answer.status}: ${await answer.text()}`);
    return answer.json();
  };
}

const [address, file = "notes.jsonl", port = "8081"] = process.argv.slice(2);
if (!address) {
  console.error("usage: node store.mjs FUNCTION_URL [FILE] [PORT]");
  process.exit(2);
}
const journal = new Journal(file);
const ask = asks(address);
const server = http.createServer({ requestTimeout: 15_000 }, async (request, response) => {
  let answer;
  try {
    answer = await serve(request, journal, ask);
  } catch (error) {
    console.error(error);
    answer = { status: 502, body: { detail: "The notes cannot be reached." } };
  }
  const { status, headers, body } = answer;
  const type = status < 400 ? "application/json" : "application/problem+json";
  response.writeHead(status, { "cache-control": "no-store", ...(body && { "content-type": type }), ...headers });
  response.end(body && JSON.stringify(status < 400 ? body : { status, ...body }));
});
server.maxConnections = 1000;
// Longer than the API keeps a connection that it does not use: it must not send a request into one that we are closing.
server.keepAliveTimeout = 65_000;
server.listen(Number(port), "127.0.0.1", () => {
  console.log(`notes in ${file}, served on http://127.0.0.1:${server.address().port}`);
});
