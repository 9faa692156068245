//! The line of an access log, compiled once.

use std::borrow::Cow;

use crate::api::live::record::{Plain, Record, Variable};

/// The longest line, in bytes; what is longer is cut.
pub const LINE_BYTES: usize = 32 * 1024;

/// A format with `$context` variables in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Format {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    /// `None`: there is no variable of that name.
    Variable(Option<Variable>),
}

const SIGN: &str = "$context.";

impl Format {
    /// Compiles a format. Line ends in it are left out: a request is one line.
    pub fn new(text: &str) -> Self {
        let text = text.replace(['\r', '\n'], "");
        let mut parts = Vec::new();
        let mut rest = text.as_str();
        while let Some((before, after)) = rest.split_once(SIGN) {
            if !before.is_empty() {
                parts.push(Part::Text(before.to_owned()));
            }
            let is_name = |letter: char| letter.is_ascii_alphanumeric() || "._".contains(letter);
            let end = after.find(|letter| !is_name(letter)).unwrap_or(after.len());
            // A dot at the end is the sentence's.
            let name = after[..end].trim_end_matches('.');
            parts.push(Part::Variable(Variable::parse(name)));
            rest = &after[name.len()..];
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        Self { parts }
    }

    /// The line of a request. What clients have sent is escaped as in JSON, so that it can neither end the line nor a text
    /// in it; what is not known is `-`.
    pub fn line(&self, record: &Record<'_>) -> String {
        let mut line = String::with_capacity(512);
        for part in &self.parts {
            match part {
                Part::Text(text) => line.push_str(text),
                Part::Variable(variable) => {
                    let value = variable.as_ref().and_then(|variable| record.value(variable));
                    let is_quoted = matches!(variable, Some(Variable::Plain(Plain::ErrorMessageString)));
                    match value {
                        None => line.push('-'),
                        Some(value) if is_quoted => {
                            line.push('"');
                            push_escaped(&mut line, &value);
                            line.push('"');
                        }
                        Some(value) => push_escaped(&mut line, &value),
                    }
                }
            }
            if line.len() > LINE_BYTES {
                line.truncate(line.floor_char_boundary(LINE_BYTES));
                break;
            }
        }
        line
    }
}

fn push_escaped(line: &mut String, value: &str) {
    if !value
        .chars()
        .any(|letter| letter.is_control() || letter == '"' || letter == '\\')
    {
        line.push_str(value);
        return;
    }
    // Text always has a JSON form; its quotes are not wanted here.
    let json = serde_json::to_string(value).unwrap_or_default();
    let inner = json.get(1..json.len().saturating_sub(1)).unwrap_or_default();
    let escaped: Cow<'_, str> = if inner.chars().any(char::is_control) {
        inner
            .chars()
            .map(|letter| if letter.is_control() { ' ' } else { letter })
            .collect()
    } else {
        inner.into()
    };
    line.push_str(&escaped);
}
