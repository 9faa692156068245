// What each field of schema.graphql means.

import { readFileSync } from "node:fs";

import { buildSchema, GraphQLError } from "graphql";

import * as carts from "./cart.mjs";

const beside = (name) => readFileSync(new URL(name, import.meta.url), "utf8");

export const schema = buildSchema(beside("schema.graphql"));

const LARGEST_PAGE = 50;
const catalogue = JSON.parse(beside("catalogue.json"));

// The catalogue as GraphQL walks it: members are values, or functions of a field's arguments.
const authors = new Map();
const books = new Map();
for (const { id, name } of catalogue.authors) {
  const written = () => [...books.values()].filter(({ author }) => author.id === id);
  authors.set(id, { id, name, books: ({ first }) => written().slice(0, page(first)) });
}
for (const row of catalogue.books) books.set(row.isbn, { ...row, author: authors.get(row.author) });

function page(first) {
  if (first >= 1 && first <= LARGEST_PAGE) return first;
  throw new GraphQLError(`first has to be from 1 to ${LARGEST_PAGE}.`);
}

function cart(lines) {
  const rows = lines.map(({ isbn, copies }) => ({ book: books.get(isbn), copies })).filter(({ book }) => book);
  return {
    token: carts.seal(lines),
    lines: rows,
    total: rows.reduce((sum, { book, copies }) => sum + book.price * copies, 0),
  };
}

export const root = {
  books({ search, first, after }) {
    const words = (search ?? "").toLowerCase();
    const found = [...books.values()].filter(
      ({ title, author }) => title.toLowerCase().includes(words) || author.name.toLowerCase().includes(words),
    );
    const start = after == null ? 0 : found.findIndex(({ isbn }) => isbn === after) + 1;
    if (after != null && start === 0) throw new GraphQLError("after is not what a page gave as next.");
    const rows = found.slice(start, start + page(first));
    return { books: rows, next: start + rows.length < found.length ? rows.at(-1).isbn : null };
  },

  book: ({ isbn }) => books.get(isbn),

  author: ({ id }) => authors.get(id),

  cart: ({ token }) => cart(carts.open(token)),

  putIntoCart({ token, isbn, copies }) {
    if (!books.has(isbn)) throw new GraphQLError("There is no such book.");
    if (copies < 0 || copies > carts.MOST_COPIES) {
      throw new GraphQLError(`copies has to be from 0 to ${carts.MOST_COPIES}.`);
    }
    const lines = (token == null ? [] : carts.open(token)).filter((line) => line.isbn !== isbn);
    if (copies > 0) lines.push({ isbn, copies });
    if (lines.length > carts.MOST_LINES) throw new GraphQLError(`A cart holds ${carts.MOST_LINES} books.`);
    return cart(lines);
  },
};
