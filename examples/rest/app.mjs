// The rules of the notes: what may be in one, who overwrites whom, how much comes at once. It keeps nothing: the store
// hands it a request with the notes that the request is about, and does what it decides.

import { randomBytes } from "node:crypto";

const MOST_NOTES = 1000;
const LONGEST = { title: 200, text: 8000 };
const PAGE = { usual: 20, most: 50 };

export async function handler(event) {
  const text = event.isBase64Encoded ? Buffer.from(event.body, "base64").toString() : event.body;
  return decide(JSON.parse(text), new Date());
}

// `{method, id, query, headers, body, note, page, count}` becomes `{status, headers, body, write}`.
export function decide(request, now) {
  const rule = { "GET list": list, "POST list": add, GET: read, PUT: change, DELETE: remove };
  try {
    const decide = rule[request.id === undefined ? `${request.method} list` : request.method];
    if (!decide) throw new Problem(405, "There is no such operation.");
    if (request.id !== undefined && !request.note) throw new Problem(404, "There is no such note.");
    return decide(request, now);
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    const { status, message: detail, errors } = error;
    return { status, body: { detail, errors } };
  }
}

// What the client can do something about (RFC 9457).
class Problem extends Error {
  constructor(status, detail, errors) {
    super(detail);
    Object.assign(this, { status, errors });
  }
}

function list({ query, page }) {
  const limit = query.limit === undefined ? PAGE.usual : /^\d{1,4}$/.test(query.limit) ? Number(query.limit) : 0;
  if (limit < 1 || limit > PAGE.most) throw new Problem(400, `limit has to be from 1 to ${PAGE.most}.`);
  const notes = page.slice(0, limit);
  if (page.length <= limit) return { status: 200, body: { notes } };
  // Relative, so that it is right at whatever address the API is reached.
  const next = `?limit=${limit}&after=${notes.at(-1).id}`;
  return { status: 200, headers: { link: `<${next}>; rel="next"` }, body: { notes, next } };
}

function add({ headers, body, count }, now) {
  const content = contentOf(headers, body);
  if (count >= MOST_NOTES) throw new Problem(409, `You have ${MOST_NOTES} notes. Delete one first.`);
  // Ids are in the order of time, so that pages are too.
  const id = now.getTime().toString(36).padStart(9, "0") + randomBytes(8).toString("hex");
  const note = { id, ...content, version: 1, created: now.toISOString(), changed: now.toISOString() };
  return { status: 201, headers: { location: `notes/${id}`, etag: etag(note) }, body: note, write: { id, note } };
}

function read({ headers, note }) {
  if (matches(headers["if-none-match"], note)) return { status: 304, headers: { etag: etag(note) } };
  return { status: 200, headers: { etag: etag(note) }, body: note };
}

function change({ headers, body, note: old }, now) {
  // Who does not say what is to be overwritten would overwrite what somebody else has written meanwhile.
  if (!headers["if-match"]) throw new Problem(428, "Say in If-Match which state you change: the ETag that you have read.");
  unchanged(headers, old);
  const note = { ...old, ...contentOf(headers, body), version: old.version + 1, changed: now.toISOString() };
  return { status: 200, headers: { etag: etag(note) }, body: note, write: { id: note.id, note } };
}

function remove({ headers, note }) {
  unchanged(headers, note);
  return { status: 204, write: { id: note.id, note: null } };
}

const etag = ({ version }) => `"${version}"`;

function unchanged(headers, note) {
  if (headers["if-match"] && !matches(headers["if-match"], note)) {
    throw new Problem(412, "The note has been changed meanwhile. Read it again.");
  }
}

// Whether a list of ETags names the note's state. Ours are strong, and proxies that compress make them weak.
function matches(header, note) {
  const tags = (header ?? "").split(",").map((tag) => tag.trim().replace(/^W\//, ""));
  return tags.includes("*") || tags.includes(etag(note));
}

// A note's title and text, or all that is wrong with them.
function contentOf(headers, body) {
  if (!/^application\/json\s*(;|$)/i.test(headers["content-type"] ?? "")) {
    throw new Problem(415, "The body has to be application/json.");
  }
  let content;
  try {
    content = JSON.parse(body);
  } catch {
    throw new Problem(400, "The body is not JSON.");
  }
  if (typeof content !== "object" || content === null || Array.isArray(content)) {
    throw new Problem(400, "The body is not a JSON object.");
  }
  const errors = {};
  for (const name of Object.keys(content)) {
    if (!Object.hasOwn(LONGEST, name)) errors[name] = "is not a member of a note";
  }
  const { title, text = "" } = content;
  if (typeof title !== "string" || title.trim() === "") errors.title = "has to be a text that is not empty";
  if (typeof text !== "string") errors.text = "has to be a text";
  for (const [name, most] of Object.entries(LONGEST)) {
    if (content[name]?.length > most) errors[name] = `is longer than ${most} characters`;
  }
  if (Object.keys(errors).length > 0) throw new Problem(422, "The note is not right.", errors);
  return { title, text };
}
