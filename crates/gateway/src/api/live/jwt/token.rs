//! A token, taken apart but not believed.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::Refusal;

/// The longest token that is looked at, in bytes.
pub const TOKEN_BYTES: usize = 16 * 1024;

/// What a token says of itself.
#[derive(Debug)]
pub struct Token<'a> {
    /// What is signed: header and claims as sent.
    pub message: &'a str,
    /// The signature, in base64.
    pub signature: &'a str,
    /// The name of the algorithm.
    pub algorithm: String,
    /// Which key has signed.
    pub key_id: Option<String>,
    /// The claims.
    pub claims: Map<String, Value>,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    crit: Option<serde::de::IgnoredAny>,
}

impl<'a> Token<'a> {
    /// Takes a token apart.
    pub fn parse(text: &'a str) -> Result<Self, Refusal> {
        if text.len() > TOKEN_BYTES {
            return Err(Refusal::TooLong);
        }
        let (message, signature) = text.rsplit_once('.').ok_or(Refusal::Segments)?;
        let (header, claims) = message.split_once('.').ok_or(Refusal::Segments)?;
        if claims.contains('.') || signature.is_empty() {
            return Err(Refusal::Segments);
        }
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| Refusal::Encoding);
        let header: Header = serde_json::from_slice(&decode(header)?).map_err(|_| Refusal::Encoding)?;
        if header.crit.is_some() {
            // RFC 7515, 4.1.11: who does not understand an extension that is critical must refuse the token.
            return Err(Refusal::Extension);
        }
        let claims = serde_json::from_slice(&decode(claims)?).map_err(|_| Refusal::Encoding)?;
        Ok(Self {
            message,
            signature,
            algorithm: header.alg,
            key_id: header.kid,
            claims,
        })
    }
}

/// A token without the scheme that it may come with.
pub fn bare(credentials: &str) -> &str {
    let text = credentials.trim();
    match text.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => token.trim(),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encode(text: &str) -> String {
        URL_SAFE_NO_PAD.encode(text)
    }

    #[track_caller]
    fn refused(text: &str, why: Refusal) {
        assert_eq!(Token::parse(text).map(|_| ()), Err(why), "{text}");
    }

    #[test]
    fn tokens_are_taken_apart() {
        let text = format!(
            "{}.{}.c2ln",
            encode(r#"{"alg":"RS256","kid":"a","typ":"JWT"}"#),
            encode(r#"{"sub":"x"}"#)
        );
        let token = Token::parse(&text).expect("a token");
        assert_eq!(
            (token.algorithm.as_str(), token.key_id.as_deref()),
            ("RS256", Some("a"))
        );
        assert_eq!((token.signature, token.claims["sub"].as_str()), ("c2ln", Some("x")));
        assert_eq!(format!("{}.c2ln", token.message), text);
    }

    #[test]
    fn what_is_no_token_is_refused() {
        let (header, claims) = (encode(r#"{"alg":"RS256"}"#), encode("{}"));
        refused("", Refusal::Segments);
        refused("a.b", Refusal::Segments);
        refused("a.b.c.d", Refusal::Segments);
        refused(&format!("{header}.{claims}."), Refusal::Segments);
        refused(&format!("{header}=.{claims}.x"), Refusal::Encoding);
        refused(&format!("{header}.{}.x", encode("[]")), Refusal::Encoding);
        refused(&format!("{}.{claims}.x", encode(r#"{"kid":"a"}"#)), Refusal::Encoding);
        refused(
            &format!("{}.{claims}.x", encode(r#"{"alg":"RS256","crit":["b64"]}"#)),
            Refusal::Extension,
        );
        refused(&"x".repeat(TOKEN_BYTES + 1), Refusal::TooLong);
    }

    #[test]
    fn a_scheme_is_taken_away() {
        assert_eq!(
            [bare("Bearer a.b.c"), bare(" bearer  a.b.c "), bare("a.b.c")],
            ["a.b.c"; 3]
        );
        assert_eq!(bare("Basic x"), "Basic x");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]
        #[test]
        fn no_text_makes_it_panic(text in "[A-Za-z0-9_.=-]{0,80}", header in ".{0,40}", claims in ".{0,40}") {
            let _either = Token::parse(&text);
            let _other = Token::parse(&format!("{}.{}.{text}", encode(&header), encode(&claims)));
        }
    }
}
