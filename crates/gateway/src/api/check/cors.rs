//! Cross-origin resource sharing.

use ephyra_wire::error::ApiError;
use http::HeaderValue;

use super::count;
use crate::api::error::bad_request;
use crate::api::model::Cors;

/// Entries of a list.
const ENTRIES: usize = 100;

pub(crate) fn cors(cors: &Cors) -> Result<(), ApiError> {
    let lists = [
        ("allowHeaders", &cors.allow_headers),
        ("allowMethods", &cors.allow_methods),
        ("allowOrigins", &cors.allow_origins),
        ("exposeHeaders", &cors.expose_headers),
    ];
    for (member, list) in lists {
        let list = list.as_deref().unwrap_or_default();
        count(&format!("corsConfiguration.{member}"), list.len(), ENTRIES)?;
        for entry in list {
            let is_plain = !entry.is_empty() && entry.len() <= 512 && !entry.contains(',');
            if !is_plain || HeaderValue::from_str(entry).is_err() || entry.contains(char::is_whitespace) {
                return Err(bad_request(format!(
                    "Invalid value in corsConfiguration.{member}: it cannot be sent in a header"
                )));
            }
        }
    }
    if let Some(age) = cors.max_age
        && !(-1..=86_400).contains(&age)
    {
        return Err(bad_request(
            "Invalid value for corsConfiguration.maxAge: it must be from -1 to 86400",
        ));
    }
    let is_any = |list: &Option<Vec<String>>| list.iter().flatten().any(|entry| entry == "*");
    if cors.allow_credentials == Some(true) && is_any(&cors.allow_origins) {
        return Err(bad_request(
            "Invalid CORS configuration: allowCredentials cannot be true when allowOrigins contains *",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_need_named_origins() {
        let with = |origins: &str, allow_credentials| Cors {
            allow_credentials: Some(allow_credentials),
            allow_origins: Some(vec![origins.to_owned()]),
            ..Cors::default()
        };
        assert!(cors(&with("*", true)).is_err());
        assert!(cors(&with("*", false)).is_ok());
        assert!(cors(&with("https://example.com", true)).is_ok());
        assert!(cors(&with("https://example.com\r\nx: y", false)).is_err());
        assert!(cors(&with("", false)).is_err());
    }
}
