//! An ordered map of texts, for environment variables: AWS measures and passes them on in the order sent.

use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::ser::SerializeMap as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Names and values in the order sent; of two equal names the later one stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pairs(pub Vec<(String, String)>);

impl Pairs {
    /// The pairs as AWS measures them: compact JSON.
    pub(crate) fn measured(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

impl Serialize for Pairs {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PairsVisitor;

        impl<'de> Visitor<'de> for PairsVisitor {
            type Value = Pairs;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of strings")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Pairs, A::Error> {
                let mut pairs: Vec<(String, String)> = Vec::new();
                let mut places = std::collections::HashMap::new();
                while let Some((name, value)) = access.next_entry::<String, String>()? {
                    match places.get(&name) {
                        Some(&place) => {
                            let pair: &mut (String, String) = &mut pairs[place];
                            pair.1 = value;
                        }
                        None => {
                            places.insert(name.clone(), pairs.len());
                            pairs.push((name, value));
                        }
                    }
                }
                Ok(Pairs(pairs))
            }
        }

        deserializer.deserialize_map(PairsVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_is_kept_and_the_last_of_equals_stands() {
        let pairs: Pairs = serde_json::from_str(r#"{"B":"1","A":"2","B":"3"}"#).unwrap();
        assert_eq!(pairs.measured(), r#"{"B":"3","A":"2"}"#);
    }
}
