//! Identifiers. Each is a type of its own, so that one cannot be passed for another.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Why a text is not the identifier it was taken for.
#[derive(Debug, thiserror::Error)]
#[error("{text:?} is not {expected}")]
pub struct ParseIdError {
    /// The text that was refused, at most 140 characters of it.
    pub text: String,
    /// What would have been accepted.
    pub expected: &'static str,
}

impl ParseIdError {
    fn new(text: &str, expected: &'static str) -> Self {
        Self {
            text: text.chars().take(140).collect(),
            expected,
        }
    }
}

macro_rules! string_id {
    ($(#[$doc:meta])* $name:ident, $expected:literal, $is_valid:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(std::sync::Arc<str>);

        impl $name {
            /// The identifier as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let is_valid: fn(&str) -> bool = $is_valid;
                if is_valid(text) {
                    Ok(Self(text.into()))
                } else {
                    Err(ParseIdError::new(text, $expected))
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = ParseIdError;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0.as_ref().to_owned()
            }
        }
    };
}

fn is_name(text: &str) -> bool {
    text.bytes()
        .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

string_id!(
    /// The name of a function, without region or account: `[a-zA-Z0-9-_]{1,64}`.
    FunctionName,
    "a function name (1 to 64 letters, digits, hyphens and underscores)",
    |text| (1..=64).contains(&text.len()) && is_name(text)
);

string_id!(
    /// The name of an alias: `(?!^[0-9]+$)([a-zA-Z0-9-_]+)`, at most 128 characters.
    AliasName,
    "an alias name (1 to 128 letters, digits, hyphens and underscores, not digits alone)",
    |text| (1..=128).contains(&text.len()) && is_name(text) && !text.bytes().all(|b| b.is_ascii_digit())
);

string_id!(
    /// An account: twelve digits.
    AccountId,
    "an account id (12 digits)",
    |text| text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit())
);

string_id!(
    /// A region such as `us-east-1`: lower-case letters, digits and hyphens, at most 32.
    Region,
    "a region (such as us-east-1)",
    |text| (1..=32).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
);

/// A version of a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Version {
    /// `$LATEST`, the only one that changes.
    Latest,
    /// A published version, counted from 1.
    Number(u64),
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Latest => f.write_str("$LATEST"),
            Self::Number(number) => write!(f, "{number}"),
        }
    }
}

impl FromStr for Version {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || ParseIdError::new(text, "a version ($LATEST or a number from 1)");
        match text {
            "$LATEST" => Ok(Self::Latest),
            _ if text.starts_with('0') || !text.bytes().all(|b| b.is_ascii_digit()) => Err(error()),
            _ => text.parse().map(Self::Number).map_err(|_| error()),
        }
    }
}

impl Serialize for Version {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Version {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// What a caller may put behind a function's name: a version or an alias.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Qualifier {
    /// `$LATEST` or a number.
    Version(Version),
    /// The name of an alias.
    Alias(AliasName),
}

impl fmt::Display for Qualifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(version) => version.fmt(f),
            Self::Alias(alias) => alias.fmt(f),
        }
    }
}

impl FromStr for Qualifier {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(version) = text.parse() {
            return Ok(Self::Version(version));
        }
        text.parse()
            .map(Self::Alias)
            .map_err(|_| ParseIdError::new(text, "a version or an alias"))
    }
}

impl Serialize for Qualifier {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Qualifier {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Uuid);

        impl $name {
            /// A new random identifier.
            #[expect(clippy::new_without_default, reason = "a default that differs each time would surprise")]
            pub fn new() -> Self {
                Self(Uuid::new_v4())
            }

            /// The sixteen bytes.
            pub const fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }

            /// An identifier from its sixteen bytes.
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(Uuid::from_bytes(bytes))
            }

            /// The identifier as 32 hexadecimal digits without hyphens.
            pub fn simple(&self) -> String {
                self.0.simple().to_string()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::parse_str(text)
                    .map(Self)
                    .map_err(|_| ParseIdError::new(text, "a UUID"))
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

uuid_id!(
    /// One invocation, the same on all its attempts; AWS's request id.
    RequestId
);
uuid_id!(
    /// One [`Revision`](crate::revision::Revision): what environments are kept for.
    RevisionId
);
uuid_id!(
    /// One execution environment; also the tail of its log stream's name.
    EnvironmentId
);
uuid_id!(
    /// One extension in one environment: what it shows in its requests.
    ExtensionId
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn qualifiers_are_versions_or_aliases() {
        assert_eq!(
            "$LATEST".parse::<Qualifier>().ok(),
            Some(Qualifier::Version(Version::Latest))
        );
        assert_eq!(
            "12".parse::<Qualifier>().ok(),
            Some(Qualifier::Version(Version::Number(12)))
        );
        assert!(matches!("live".parse::<Qualifier>(), Ok(Qualifier::Alias(_))));
        for text in ["", "$latest", "0", "007", "a b", "99999999999999999999999"] {
            assert!(text.parse::<Qualifier>().is_err(), "{text}");
        }
    }

    #[test]
    fn names_keep_to_their_alphabet_and_length() {
        assert!("my_function-1".parse::<FunctionName>().is_ok());
        for text in ["", "a.b", "a/b", "ä", &"x".repeat(65)] {
            assert!(text.parse::<FunctionName>().is_err(), "{text}");
        }
    }
}
