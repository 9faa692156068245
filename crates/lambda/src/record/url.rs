//! A function URL: what is kept of it with the function or alias that it leads to, and the way back from its id.

use ephyra_core::arn::Place;
use ephyra_core::digest::Digest;
use ephyra_core::id::{AliasName, FunctionName, Qualifier};
use ephyra_core::url::{Cors, FunctionUrl, InvokeMode, Origin, URL_ID_LEN, UrlAuth};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::Policy;
use crate::time;

/// A URL's configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct UrlConfig {
    pub id: String,
    pub auth: UrlAuth,
    pub invoke_mode: InvokeMode,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cors: Option<Cors>,
    pub created_ms: i64,
    pub modified_ms: i64,
}

/// Where a URL's id leads. It is believed only when the configuration there has this id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct UrlPlace {
    pub function: FunctionName,
    /// `None` is `$LATEST`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias: Option<AliasName>,
}

impl UrlConfig {
    /// What answers requests works with; `policy` is that of the function or alias.
    pub(crate) fn to_function_url(&self, place: UrlPlace, policy: &Policy) -> FunctionUrl {
        FunctionUrl {
            id: self.id.clone(),
            function: place.function,
            qualifier: place.alias.map(Qualifier::Alias),
            auth: self.auth,
            is_open: self.auth == UrlAuth::None && policy.opens_url(self.auth),
            invoke_mode: self.invoke_mode,
            cors: self.cors.clone(),
        }
    }

    /// The members that all answers have; `arn` with the alias, if there is one.
    pub(crate) fn describe(&self, arn: &str, place: &Place, origin: &Origin) -> Map<String, Value> {
        let mut document = Map::new();
        let mut set = |name: &str, value: Value| {
            document.insert(name.to_owned(), value);
        };
        set("FunctionUrl", json!(origin.function_url(&self.id, &place.region)));
        set("FunctionArn", json!(arn));
        set("AuthType", json!(self.auth));
        if let Some(cors) = &self.cors {
            set("Cors", json!(cors));
        }
        set("CreationTime", json!(time::iso_millis(self.created_ms)));
        document
    }
}

/// A new id, from bytes that are random: 32 of `[a-z0-9]`.
pub(crate) fn url_id(random: &[u8]) -> String {
    const LETTERS: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
    // The bytes of an identifier are not all random; those of its digest are.
    let spread = Digest::of(random);
    spread
        .as_bytes()
        .iter()
        .take(URL_ID_LEN)
        .map(|byte| char::from(LETTERS[usize::from(*byte) % LETTERS.len()]))
        .collect()
}

/// Whether a text can be an id.
pub(crate) fn is_url_id(text: &str) -> bool {
    text.len() == URL_ID_LEN && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn ids_are_ids_and_follow_from_all_that_is_random(random: [u8; 32], bit in 0..256_usize) {
            let id = url_id(&random);
            prop_assert!(is_url_id(&id), "{}", id);
            let mut other = random;
            other[bit / 8] ^= 1 << (bit % 8);
            prop_assert_ne!(url_id(&other), id);
        }
    }

    #[test]
    fn other_texts_are_no_ids() {
        for text in ["", "abc", &"A".repeat(32), &"a".repeat(33), &"é".repeat(16)] {
            assert!(!is_url_id(text), "{text}");
        }
    }
}
