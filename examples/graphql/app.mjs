// GraphQL over HTTP (https://graphql.github.io/graphql-over-http/draft/): POST, and GET for queries.

import { readFileSync } from "node:fs";

import {
  execute,
  getOperationAST,
  GraphQLError,
  NoSchemaIntrospectionCustomRule,
  parse,
  specifiedRules,
  validate,
} from "graphql";

import { refuseLarge } from "./limits.mjs";
import { root, schema } from "./schema.mjs";

const LARGEST_BODY = 64 * 1024;
const MOST_TOKENS = 2000;
const GRAPHQL = "application/graphql-response+json";

const rules =
  process.env.INTROSPECTION === "off" ? [...specifiedRules, NoSchemaIntrospectionCustomRule] : specifiedRules;

const page = readFileSync(new URL("page.html", import.meta.url), "utf8");

export async function handler(event) {
  const { method } = event.requestContext.http;
  if (method === "GET" && !event.rawQueryString && /\btext\/html\b/.test(event.headers.accept ?? "")) {
    return { statusCode: 200, headers: { "content-type": "text/html; charset=utf-8" }, body: page };
  }
  // Clients that do not know of GraphQL's own media type expect errors with status 200.
  const knowsMediaType = (event.headers.accept ?? "").includes(GRAPHQL);
  let answer;
  try {
    answer = run(read(event, method), method);
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    answer = { status: error.status, errors: [new GraphQLError(error.message)], headers: error.headers, isHttp: true };
  }
  const { status, headers, isHttp, ...result } = answer;
  return {
    statusCode: knowsMediaType || isHttp ? status : 200,
    headers: {
      "content-type": `${knowsMediaType ? GRAPHQL : "application/json"}; charset=utf-8`,
      "cache-control": "no-store",
      ...headers,
    },
    body: JSON.stringify(result),
  };
}

// What is wrong with the HTTP request, before GraphQL has a say.
class Refused extends Error {
  constructor(status, message, headers = {}) {
    super(message);
    Object.assign(this, { status, headers });
  }
}

function read(event, method) {
  let request;
  if (method === "GET") {
    const { query, operationName, variables } = event.queryStringParameters ?? {};
    request = { query, operationName, variables: variables ? json(variables, "variables") : undefined };
  } else if (method === "POST") {
    // Forms of other sites cannot send this type without asking first: no cookie of a visitor's is misused.
    if (!/^application\/json\s*(;|$)/i.test(event.headers["content-type"] ?? "")) {
      throw new Refused(415, "The body has to be application/json.");
    }
    const body = event.isBase64Encoded ? Buffer.from(event.body, "base64").toString() : (event.body ?? "");
    if (body.length > LARGEST_BODY) throw new Refused(413, `The body is longer than ${LARGEST_BODY} characters.`);
    request = json(body, "The body");
  } else {
    throw new Refused(405, "Use GET or POST.", { allow: "GET, POST" });
  }
  const { query, operationName, variables } = request ?? {};
  if (typeof query !== "string") throw new Refused(400, "There is no query.");
  if (operationName != null && typeof operationName !== "string") throw new Refused(400, "operationName is no text.");
  if (variables != null && (typeof variables !== "object" || Array.isArray(variables))) {
    throw new Refused(400, "variables is no object.");
  }
  return { query, operationName, variables };
}

function json(text, what) {
  try {
    return JSON.parse(text);
  } catch {
    throw new Refused(400, `${what} is not JSON.`);
  }
}

// Parses, validates, measures and only then executes.
function run({ query, operationName, variables }, method) {
  let document;
  try {
    document = parse(query, { maxTokens: MOST_TOKENS });
  } catch (error) {
    return { status: 400, errors: [error] };
  }
  const invalid = validate(schema, document, rules, { maxErrors: 20 });
  if (invalid.length > 0) return { status: 400, errors: invalid };
  const operation = getOperationAST(document, operationName);
  if (!operation) return { status: 400, errors: [new GraphQLError("Which operation? Name one in operationName.")] };
  if (method === "GET" && operation.operation !== "query") {
    throw new Refused(405, "A mutation has to be sent by POST.", { allow: "POST" });
  }
  try {
    refuseLarge(schema, document, operation, variables ?? {});
  } catch (error) {
    if (error instanceof GraphQLError) return { status: 400, errors: [error] };
    throw error;
  }
  const { data, errors } = execute({ schema, document, rootValue: root, variableValues: variables, operationName });
  // Without data nothing was executed: variables that do not fit, for example.
  return { status: data === undefined ? 400 : 200, ...(errors && { errors: errors.map(shown) }), data };
}

// Errors that are meant for the client were made as GraphQLError; what else happened is for the log alone.
function shown(error) {
  if (!error.originalError || error.originalError instanceof GraphQLError) return error;
  console.error(error.originalError);
  return new GraphQLError("Something went wrong here.", { nodes: error.nodes, path: error.path });
}
