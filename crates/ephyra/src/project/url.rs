//! `url` in an `ephyra.toml`: `true`, `false`, or a table.

use ephyra_core::url::{Cors, InvokeMode, UrlAuth};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};

/// What is said of a function's URL. Where nothing is said, it stays as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub(crate) enum Url {
    /// Whether it has one; one that everybody may call.
    Is(bool),
    /// It has one like this.
    Like(UrlTable),
}

/// A URL that is not as all others are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct UrlTable {
    /// `NONE`: everybody may call it; `AWS_IAM`: requests are signed.
    #[serde(default = "open")]
    pub(crate) auth: UrlAuth,
    /// `BUFFERED` or `RESPONSE_STREAM`.
    #[serde(default)]
    pub(crate) invoke_mode: InvokeMode,
    /// Which pages of other origins may call it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) cors: Option<CorsTable>,
}

/// Cross-origin resource sharing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct CorsTable {
    pub(crate) allow_credentials: bool,
    pub(crate) allow_headers: Vec<String>,
    pub(crate) allow_methods: Vec<String>,
    pub(crate) allow_origins: Vec<String>,
    pub(crate) expose_headers: Vec<String>,
    /// In seconds.
    pub(crate) max_age: u32,
}

fn open() -> UrlAuth {
    UrlAuth::None
}

impl Url {
    /// The URL that the function is to have; `None`: it is to have none.
    pub(crate) fn wanted(&self) -> Option<UrlTable> {
        match self {
            Self::Is(false) => None,
            Self::Is(true) => Some(UrlTable {
                auth: open(),
                invoke_mode: InvokeMode::default(),
                cors: None,
            }),
            Self::Like(table) => Some(table.clone()),
        }
    }
}

impl CorsTable {
    /// The same in AWS's words.
    pub(crate) fn to_cors(&self) -> Cors {
        let Self {
            allow_credentials,
            allow_headers,
            allow_methods,
            allow_origins,
            expose_headers,
            max_age,
        } = self.clone();
        Cors {
            allow_credentials,
            allow_headers,
            allow_methods,
            allow_origins,
            expose_headers,
            max_age,
        }
    }
}

/// By hand, so that a misspelt member of the table is named.
impl<'de> Deserialize<'de> for Url {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = Url;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("true, false, or a table with auth, invoke_mode and cors")
            }

            fn visit_bool<E>(self, is: bool) -> Result<Url, E> {
                Ok(Url::Is(is))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Url, A::Error> {
                UrlTable::deserialize(MapAccessDeserializer::new(map)).map(Url::Like)
            }
        }

        deserializer.deserialize_any(Either)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct File {
        url: Url,
    }

    #[track_caller]
    fn check(text: &str, want: Option<UrlTable>) {
        let file: File = toml::from_str(text).unwrap();
        assert_eq!(file.url.wanted(), want, "{text}");
    }

    #[test]
    fn a_url_is_asked_for_in_a_word_or_in_full() {
        let plain = UrlTable {
            auth: UrlAuth::None,
            invoke_mode: InvokeMode::Buffered,
            cors: None,
        };
        check("url = true", Some(plain.clone()));
        check("url = false", None);
        check("[url]", Some(plain.clone()));
        check(
            "[url]\nauth = 'AWS_IAM'\ninvoke_mode = 'RESPONSE_STREAM'\n[url.cors]\nallow_origins = ['*']\nmax_age = 5",
            Some(UrlTable {
                auth: UrlAuth::AwsIam,
                invoke_mode: InvokeMode::ResponseStream,
                cors: Some(CorsTable {
                    allow_origins: vec!["*".to_owned()],
                    max_age: 5,
                    ..CorsTable::default()
                }),
            }),
        );
    }

    #[test]
    fn a_misspelt_member_is_named() {
        for (text, want) in [
            ("[url]\nauht = 'NONE'", "auht"),
            ("[url.cors]\norigins = []", "origins"),
            ("url = 'yes'", "true, false, or a table"),
            ("[url]\nauth = 'JWT'", "JWT"),
        ] {
            let error = toml::from_str::<File>(text).err().map(|e| e.to_string());
            assert!(error.as_ref().is_some_and(|e| e.contains(want)), "{error:?}");
        }
    }
}
