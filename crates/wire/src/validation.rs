//! What is wrong with a request's members, in AWS's words:
//! `2 validation errors detected: Value '0' at 'timeout' failed to satisfy constraint: …; Value … `.
//!
//! ```
//! use ephyra_wire::validation::{Constraint, Violations};
//!
//! let mut violations = Violations::default();
//! violations.add("functionVersion", "x", Constraint::Enum(&["ALL"]));
//! let error = violations.finish().expect_err("one was added");
//! assert_eq!(
//!     error.message,
//!     "1 validation error detected: Value 'x' at 'functionVersion' failed to satisfy constraint: \
//!      Member must satisfy enum value set: [ALL]"
//! );
//! ```

use std::fmt;

use http::StatusCode;

use crate::error::ApiError;

/// How much of a value an error repeats, in characters: more than any member of an API may be long.
const QUOTED_CHARACTERS: usize = 4096;
/// How many violations an error lists.
const LISTED: usize = 64;

/// What a member must satisfy.
#[derive(Clone, Debug, PartialEq)]
pub enum Constraint<'a> {
    /// A regular expression, as AWS spells it.
    Pattern(&'a str),
    /// At least so many characters or entries.
    MinLength(usize),
    /// At most so many characters or entries.
    MaxLength(usize),
    /// A number at least this, as AWS spells it (`1`, `0.0`).
    MinValue(&'a str),
    /// A number at most this.
    MaxValue(&'a str),
    /// One of these, in AWS's order.
    Enum(&'a [&'a str]),
    /// The member must be there.
    NotNull,
    /// Each entry of a list must satisfy all of these.
    Each(&'a [Constraint<'a>]),
    /// Each key of a map must satisfy all of these.
    MapKeys(&'a [Constraint<'a>]),
    /// Each value of a map must satisfy all of these.
    MapValues(&'a [Constraint<'a>]),
}

impl fmt::Display for Constraint<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pattern(pattern) => write!(f, "Member must satisfy regular expression pattern: {pattern}"),
            Self::MinLength(length) => write!(f, "Member must have length greater than or equal to {length}"),
            Self::MaxLength(length) => write!(f, "Member must have length less than or equal to {length}"),
            Self::MinValue(value) => write!(f, "Member must have value greater than or equal to {value}"),
            Self::MaxValue(value) => write!(f, "Member must have value less than or equal to {value}"),
            Self::Enum(values) => write!(f, "Member must satisfy enum value set: {}", list(*values)),
            Self::NotNull => f.write_str("Member must not be null"),
            Self::Each(all) => write!(f, "Member must satisfy constraint: {}", list(*all)),
            Self::MapKeys(all) => write!(f, "Map keys must satisfy constraint: {}", list(*all)),
            Self::MapValues(all) => write!(f, "Map value must satisfy constraint: {}", list(*all)),
        }
    }
}

/// Entries as AWS writes a list: `[a, b]`.
pub fn list<T: fmt::Display>(entries: impl IntoIterator<Item = T>) -> String {
    let entries: Vec<String> = entries.into_iter().map(|entry| entry.to_string()).collect();
    format!("[{}]", entries.join(", "))
}

/// Entries as AWS writes a map: `{a=1, b=2}`.
pub fn map<K: fmt::Display, V: fmt::Display>(entries: impl IntoIterator<Item = (K, V)>) -> String {
    let entries: Vec<String> = entries
        .into_iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    format!("{{{}}}", entries.join(", "))
}

/// All that is wrong with a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Violations {
    texts: Vec<String>,
}

impl Violations {
    /// Notes that `member` (such as `vpcConfig.subnetIds`) has a value that breaks `constraint`.
    pub fn add(&mut self, member: &str, value: impl fmt::Display, constraint: Constraint<'_>) {
        let value: String = value.to_string().chars().take(QUOTED_CHARACTERS).collect();
        self.note(&format!("Value '{value}'"), member, &constraint);
    }

    /// Notes that `member` is not there.
    pub fn add_null(&mut self, member: &str) {
        self.note("Value null", member, &Constraint::NotNull);
    }

    /// Whether nothing was noted.
    pub fn is_empty(&self) -> bool {
        self.texts.is_empty()
    }

    /// A `ValidationException` that lists what was noted.
    pub fn finish(self) -> Result<(), ApiError> {
        let count = self.texts.len();
        if count == 0 {
            return Ok(());
        }
        let errors = if count == 1 { "error" } else { "errors" };
        let message = format!("{count} validation {errors} detected: {}", self.texts.join("; "));
        Err(ApiError::new(StatusCode::BAD_REQUEST, "ValidationException", message))
    }

    /// Requires a member to have from `min` to `max` characters.
    pub fn check_length(&mut self, member: &str, value: &str, min: usize, max: usize) {
        let length = value.chars().count();
        if length > max {
            self.add(member, value, Constraint::MaxLength(max));
        }
        if length < min {
            self.add(member, value, Constraint::MinLength(min));
        }
    }

    /// Requires a number to be from `min` to `max`.
    pub fn check_range(&mut self, member: &str, value: i64, min: i64, max: i64) {
        if value > max {
            self.add(member, value, Constraint::MaxValue(&max.to_string()));
        }
        if value < min {
            self.add(member, value, Constraint::MinValue(&min.to_string()));
        }
    }

    /// Requires a member to be one of `values`.
    pub fn check_enum(&mut self, member: &str, value: &str, values: &[&str]) {
        if !values.contains(&value) {
            self.add(member, value, Constraint::Enum(values));
        }
    }

    fn note(&mut self, value: &str, member: &str, constraint: &Constraint<'_>) {
        if self.texts.len() < LISTED {
            let text = format!("{value} at '{member}' failed to satisfy constraint: {constraint}");
            self.texts.push(text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(add: impl FnOnce(&mut Violations), want: &str) {
        let mut violations = Violations::default();
        add(&mut violations);
        let error = violations.finish().unwrap_err();
        assert_eq!(
            (error.status, error.code),
            (StatusCode::BAD_REQUEST, "ValidationException")
        );
        assert_eq!(error.message, want);
    }

    /// Each text is one that AWS gave.
    #[test]
    fn texts_are_those_of_aws() {
        const ARCHITECTURE: &[Constraint<'_>] = &[Constraint::Enum(&["x86_64", "arm64"]), Constraint::NotNull];
        check(
            |all| all.add("name", "2024", Constraint::Pattern("(?!^[0-9]+$)([a-zA-Z0-9-_]+)")),
            "1 validation error detected: Value '2024' at 'name' failed to satisfy constraint: Member must satisfy \
             regular expression pattern: (?!^[0-9]+$)([a-zA-Z0-9-_]+)",
        );
        check(
            |all| all.check_length("functionName", "abc", 1, 2),
            "1 validation error detected: Value 'abc' at 'functionName' failed to satisfy constraint: Member must \
             have length less than or equal to 2",
        );
        check(
            |all| all.check_range("provisionedConcurrentExecutions", 0, 1, 10),
            "1 validation error detected: Value '0' at 'provisionedConcurrentExecutions' failed to satisfy \
             constraint: Member must have value greater than or equal to 1",
        );
        check(
            |all| all.add_null("tagKeys"),
            "1 validation error detected: Value null at 'tagKeys' failed to satisfy constraint: Member must not be \
             null",
        );
        check(
            |all| {
                let weights = map([("2", "-1.0")]);
                let member = "routingConfig.additionalVersionWeights";
                let each = [
                    Constraint::MaxValue("1.0"),
                    Constraint::MinValue("0.0"),
                    Constraint::NotNull,
                ];
                all.add(member, weights, Constraint::MapValues(&each));
            },
            "1 validation error detected: Value '{2=-1.0}' at 'routingConfig.additionalVersionWeights' failed to \
             satisfy constraint: Map value must satisfy constraint: [Member must have value less than or equal to \
             1.0, Member must have value greater than or equal to 0.0, Member must not be null]",
        );
        check(
            |all| {
                all.check_enum("functionVersion", "invalid", &["ALL"]);
                all.add("architectures", list(["X86_64"]), Constraint::Each(ARCHITECTURE));
            },
            "2 validation errors detected: Value 'invalid' at 'functionVersion' failed to satisfy constraint: Member \
             must satisfy enum value set: [ALL]; Value '[X86_64]' at 'architectures' failed to satisfy constraint: \
             Member must satisfy constraint: [Member must satisfy enum value set: [x86_64, arm64], Member must not \
             be null]",
        );
    }

    #[test]
    fn a_request_without_faults_passes() {
        let mut violations = Violations::default();
        violations.check_length("a", "ä", 1, 1);
        violations.check_range("b", 3, 3, 3);
        violations.check_enum("c", "x", &["x"]);
        assert!(violations.is_empty());
        assert!(violations.finish().is_ok());
    }
}
