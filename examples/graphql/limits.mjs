// How much a query may ask for. A short text can ask for a lot: an author's books, each one's author, each one's books …

import { getNamedType, getNullableType, GraphQLError, isListType, Kind } from "graphql";

const DEEPEST = 10;
const MOST_FIELDS = 2000;
// What a list without `first` is taken to hold.
const LIST = 10;

// Refuses an operation whose answer could be deeper or have more fields than that. The document is a valid one, so that
// its fragments are known and do not go round in circles.
export function refuseLarge(schema, document, operation, variables) {
  const fragments = new Map();
  for (const definition of document.definitions) {
    if (definition.kind === Kind.FRAGMENT_DEFINITION) fragments.set(definition.name.value, definition);
  }
  const defaults = new Map();
  for (const { variable, defaultValue } of operation.variableDefinitions ?? []) {
    defaults.set(variable.name.value, defaultValue?.value);
  }
  // Each fragment is measured once, however often it is used: the time that this takes is bounded by the text's length.
  const measured = new Map();

  function measure({ selections }, type) {
    let [depth, fields] = [0, 0];
    for (const selection of selections) {
      const [d, f] = measureOne(selection, type);
      depth = Math.max(depth, d);
      fields += f;
    }
    return [depth, fields];
  }

  function measureOne(selection, type) {
    if (selection.kind === Kind.INLINE_FRAGMENT) {
      const condition = selection.typeCondition;
      return measure(selection.selectionSet, condition ? schema.getType(condition.name.value) : type);
    }
    if (selection.kind === Kind.FRAGMENT_SPREAD) {
      const name = selection.name.value;
      if (!measured.has(name)) {
        const { selectionSet, typeCondition } = fragments.get(name);
        measured.set(name, measure(selectionSet, schema.getType(typeCondition.name.value)));
      }
      return measured.get(name);
    }
    // `__schema` and `__type`, whose depth graphql-js bounds by itself, and `__typename`.
    if (selection.name.value.startsWith("__")) return [1, 1];
    const field = type.getFields()[selection.name.value];
    if (!selection.selectionSet) return [1, 1];
    const [depth, fields] = measure(selection.selectionSet, getNamedType(field.type));
    return [depth + 1, 1 + fields * times(selection, field)];
  }

  // How often what is below a field may come.
  function times(node, field) {
    const first = field.args.find((argument) => argument.name === "first");
    if (!first) return isListType(getNullableType(field.type)) ? LIST : 1;
    const given = node.arguments.find((argument) => argument.name.value === "first")?.value;
    let value = first.defaultValue;
    if (given?.kind === Kind.INT) value = Number(given.value);
    if (given?.kind === Kind.VARIABLE) {
      value = variables[given.name.value] ?? defaults.get(given.name.value) ?? first.defaultValue;
    }
    // The resolver refuses what is out of bounds; here nothing may count as less than one.
    return Math.max(1, Number(value) || 1);
  }

  const [depth, fields] = measure(operation.selectionSet, schema.getRootType(operation.operation));
  if (depth > DEEPEST) throw new GraphQLError(`The query is ${depth} levels deep; ${DEEPEST} are allowed.`);
  if (fields > MOST_FIELDS) {
    throw new GraphQLError(`The answer could have ${fields} fields; ${MOST_FIELDS} are allowed. Ask for fewer at once.`);
  }
}
