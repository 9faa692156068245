//! YAML as JSON values: reading within bounds, and writing.
//!
//! Of YAML 1.2's core schema; a number that is not written as JSON would write it is kept as text, so that a version
//! `1.10` stays what it is.

use saphyr_parser::{Event, Parser, ScalarStyle, Tag};
use serde_json::{Map, Number, Value};
use std::borrow::Cow;
use std::collections::HashMap;

/// How deep a document may be nested.
const DEPTH: usize = 64;
/// The nodes of a document, those that aliases repeat included: a map of one takes more than half a KB.
pub(super) const NODES: usize = 500_000;
/// The text of a document in bytes, that which aliases repeat included.
const BYTES: usize = 32 * 1024 * 1024;
/// The aliases of a document.
const ALIASES: usize = 1_000;

/// The longest key that is written on one line with its value, in bytes; escaped it is ten times as long at most.
const KEY_BYTES: usize = 100;

/// Why a text is no document.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum YamlError {
    /// It is not YAML.
    #[error("{0}")]
    Syntax(String),
    /// It is more than one document, or none.
    #[error("there must be exactly one document")]
    Documents,
    /// It is nested too deeply.
    #[error("it is nested more than {DEPTH} levels deep")]
    Depth,
    /// It is too large with its aliases.
    #[error("it has too many or too large nodes")]
    Size,
    /// It has too many aliases, or one that stands in what it means.
    #[error("it has more than {ALIASES} aliases, or one within itself")]
    Alias,
    /// A key comes twice.
    #[error("the key {0:?} comes twice")]
    Twice(String),
    /// A key is no text.
    #[error("a key is a list or a map")]
    Key,
}

/// Reads a document.
pub(crate) fn read(text: &str) -> Result<Value, YamlError> {
    let mut reader = Reader::default();
    for event in Parser::new_from_str(text) {
        let (event, _) = event.map_err(|error| YamlError::Syntax(error.to_string()))?;
        reader.take(event)?;
    }
    match (reader.documents, reader.root) {
        (1, Some(root)) => Ok(root.value),
        _ => Err(YamlError::Documents),
    }
}

/// A value with what it counts for.
#[derive(Clone)]
struct Node {
    value: Value,
    nodes: usize,
    bytes: usize,
    depth: usize,
}

/// A list or map that is being read.
struct Open {
    anchor: usize,
    /// What it counts for so far.
    nodes: usize,
    bytes: usize,
    depth: usize,
    content: Content,
}

enum Content {
    List(Vec<Value>),
    /// With the key whose value comes next.
    Map(Map<String, Value>, Option<String>),
}

#[derive(Default)]
struct Reader {
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    documents: usize,
    aliases: usize,
    nodes: usize,
    bytes: usize,
    /// What is kept for aliases counts for, each anchor by itself: one may stand within the other.
    kept_nodes: usize,
    kept_bytes: usize,
    root: Option<Node>,
}

impl Reader {
    fn take(&mut self, event: Event<'_>) -> Result<(), YamlError> {
        match event {
            Event::DocumentStart(_) => {
                self.documents += 1;
                self.anchors.clear();
                Ok(())
            }
            Event::Alias(anchor) => {
                self.aliases += 1;
                let known = self.anchors.get(&anchor).filter(|_| self.aliases <= ALIASES);
                // Counted before it is copied.
                let node = known.ok_or(YamlError::Alias)?;
                if self.nodes + node.nodes > NODES || self.bytes + node.bytes > BYTES {
                    return Err(YamlError::Size);
                }
                if self.open.len() + node.depth > DEPTH {
                    return Err(YamlError::Depth);
                }
                let node = node.clone();
                self.add(node, 0)
            }
            Event::Scalar(text, style, anchor, tag) => {
                let node = Node {
                    bytes: text.len(),
                    nodes: 1,
                    depth: 0,
                    value: scalar(text, style, tag.as_deref()),
                };
                self.add(node, anchor)
            }
            Event::SequenceStart(anchor, _) => self.begin(anchor, Content::List(Vec::new())),
            Event::MappingStart(anchor, _) => self.begin(anchor, Content::Map(Map::new(), None)),
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(open) = self.open.pop() else {
                    return Ok(());
                };
                let value = match open.content {
                    Content::List(list) => Value::Array(list),
                    Content::Map(map, _) => Value::Object(map),
                };
                let node = Node {
                    value,
                    nodes: open.nodes,
                    bytes: open.bytes,
                    depth: open.depth,
                };
                // Its entries were counted when they came.
                self.nodes -= node.nodes;
                self.bytes -= node.bytes;
                self.add(node, open.anchor)
            }
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
        }
    }

    fn begin(&mut self, anchor: usize, content: Content) -> Result<(), YamlError> {
        if self.open.len() >= DEPTH {
            return Err(YamlError::Depth);
        }
        self.nodes += 1;
        self.open.push(Open {
            anchor,
            nodes: 1,
            bytes: 0,
            depth: 1,
            content,
        });
        Ok(())
    }

    /// Puts a whole node where it belongs.
    fn add(&mut self, node: Node, anchor: usize) -> Result<(), YamlError> {
        self.nodes += node.nodes;
        self.bytes += node.bytes;
        if self.nodes > NODES || self.bytes > BYTES {
            return Err(YamlError::Size);
        }
        if anchor != 0 {
            self.kept_nodes += node.nodes;
            self.kept_bytes += node.bytes;
            if self.kept_nodes > NODES || self.kept_bytes > BYTES {
                return Err(YamlError::Size);
            }
            self.anchors.insert(anchor, node.clone());
        }
        let Some(open) = self.open.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        open.nodes += node.nodes;
        open.bytes += node.bytes;
        open.depth = open.depth.max(node.depth + 1);
        match &mut open.content {
            Content::List(list) => list.push(node.value),
            Content::Map(map, key) => match key.take() {
                None => *key = Some(key_of(node.value)?),
                Some(key) if map.contains_key(&key) => return Err(YamlError::Twice(key.chars().take(100).collect())),
                Some(key) => {
                    map.insert(key, node.value);
                }
            },
        }
        Ok(())
    }
}

fn key_of(value: Value) -> Result<String, YamlError> {
    match value {
        Value::String(text) => Ok(text),
        Value::Null => Ok("null".to_owned()),
        Value::Bool(_) | Value::Number(_) => Ok(value.to_string()),
        Value::Array(_) | Value::Object(_) => Err(YamlError::Key),
    }
}

fn scalar(text: Cow<'_, str>, style: ScalarStyle, tag: Option<&Tag>) -> Value {
    let is_text = style != ScalarStyle::Plain || tag.is_some();
    if is_text {
        return Value::String(text.into_owned());
    }
    match text.as_ref() {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        plain => match plain.parse::<Number>() {
            Ok(number) if number.to_string() == plain => Value::Number(number),
            _ => Value::String(text.into_owned()),
        },
    }
}

/// Writes a document. Texts are quoted wherever they could mean anything else.
pub(crate) fn write(value: &Value) -> String {
    let mut out = String::from("---\n");
    match value {
        Value::Object(map) if !map.is_empty() => write_map(&mut out, map, 0),
        Value::Array(list) if !list.is_empty() => write_list(&mut out, list, 0),
        other => {
            write_leaf(&mut out, other);
            out.push('\n');
        }
    }
    out
}

/// A scalar, or an empty list or map: as in JSON, but for characters that YAML might take for something else.
fn write_leaf(out: &mut String, value: &Value) {
    match value {
        Value::String(text) => write_text(out, text),
        other => out.push_str(&other.to_string()),
    }
}

fn write_text(out: &mut String, text: &str) {
    out.push('"');
    for character in text.chars() {
        let code = u32::from(character);
        match character {
            '"' | '\\' => out.extend(['\\', character]),
            ' '..='~' => out.push(character),
            _ if character.is_alphanumeric() => out.push(character),
            _ if code <= 0xFFFF => out.push_str(&format!("\\u{code:04X}")),
            _ => out.push_str(&format!("\\U{code:08X}")),
        }
    }
    out.push('"');
}

/// What stands behind a colon or a dash: on the same line, or on lines of its own.
fn write_value(out: &mut String, value: &Value, indent: usize) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            out.push('\n');
            write_map(out, map, indent);
        }
        Value::Array(list) if !list.is_empty() => {
            out.push('\n');
            write_list(out, list, indent);
        }
        other => {
            out.push(' ');
            write_leaf(out, other);
            out.push('\n');
        }
    }
}

fn write_map(out: &mut String, map: &Map<String, Value>, indent: usize) {
    for (key, value) in map {
        out.extend(std::iter::repeat_n(' ', indent));
        let is_plain = key.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic())
            && key
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
            && scalar(Cow::Borrowed(key), ScalarStyle::Plain, None).is_string();
        if is_plain && key.len() <= KEY_BYTES {
            out.push_str(key);
        } else if key.len() <= KEY_BYTES {
            write_text(out, key);
        } else {
            // A key on one line with its colon may have 1,024 characters at most.
            out.push_str("? ");
            write_text(out, key);
            out.push('\n');
            out.extend(std::iter::repeat_n(' ', indent));
        }
        out.push(':');
        write_value(out, value, indent + 2);
    }
}

fn write_list(out: &mut String, list: &[Value], indent: usize) {
    for value in list {
        out.extend(std::iter::repeat_n(' ', indent));
        out.push('-');
        write_value(out, value, indent + 2);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[track_caller]
    fn check(text: &str, want: Value) {
        assert_eq!(read(text), Ok(want));
    }

    #[test]
    fn scalars_are_of_the_core_schema() {
        check(
            "a: 1\nb: 2.5\nc: true\nd: ~\ne: yes\n",
            json!({"a":1,"b":2.5,"c":true,"d":null,"e":"yes"}),
        );
        check(
            "v: 1.10\nw: 2.0\nx: '2'\ny: 0x10\n",
            json!({"v":"1.10","w":2.0,"x":"2","y":"0x10"}),
        );
        check("200: {a: [1, b]}\n", json!({"200":{"a":[1,"b"]}}));
        check("a: !!str 1\n", json!({"a":"1"}));
    }

    #[test]
    fn aliases_are_repeated_within_bounds() {
        check("a: &x {b: 1}\nc: *x\n", json!({"a":{"b":1},"c":{"b":1}}));
        // A billion laughs.
        let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for level in 1..20 {
            let before = format!("*a{}, ", level - 1).repeat(9);
            text += &format!("a{level}: &a{level} [{before}x]\n");
        }
        assert!(matches!(read(&text), Err(YamlError::Size | YamlError::Depth)));
        assert_eq!(read("a: &x [*x]\n"), Err(YamlError::Alias));
        // Each anchor is kept whole, with all that are within it.
        let nested: String = (0..60).map(|level| format!("&a{level} [")).collect();
        let nested = format!("{nested}{}{}", "x,".repeat(20_000), "]".repeat(60));
        assert_eq!(read(&nested), Err(YamlError::Size));
        let many = format!("a: &x 1\nb: [{}]\n", "*x, ".repeat(2000));
        assert_eq!(read(&many), Err(YamlError::Alias));
    }

    #[test]
    fn what_is_no_document_is_refused() {
        assert_eq!(read(&"- ".repeat(1000)), Err(YamlError::Depth));
        assert!(read(&"[".repeat(100_000)).is_err());
        assert_eq!(read("a: 1\na: 2\n"), Err(YamlError::Twice("a".into())));
        assert_eq!(read("---\na\n---\nb\n"), Err(YamlError::Documents));
        assert_eq!(read(""), Err(YamlError::Documents));
        assert_eq!(read("? [a]\n: b\n"), Err(YamlError::Key));
        assert!(matches!(read("a: [1"), Err(YamlError::Syntax(_))));
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Bool),
            any::<i32>().prop_map(Value::from),
            "[ -~äß\u{85}\n\t:#]{0,12}".prop_map(Value::String),
        ];
        let leaf = prop_oneof![leaf, any::<String>().prop_map(Value::String)];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
                proptest::collection::btree_map("[ -~]{1,8}|[ -~]{90,200}|\\PC{0,8}", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]
        #[test]
        fn what_is_written_is_read_again(value in value()) {
            prop_assert_eq!(read(&write(&value)), Ok(value));
        }

        #[test]
        fn no_text_breaks_the_reader(text in "[a-c:\\-\\[\\]{}&*!|>'\"#%@?, \n]{0,80}") {
            let _ = read(&text);
        }
    }
}
