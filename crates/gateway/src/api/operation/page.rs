//! Lists, a page at a time.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ephyra_wire::error::ApiError;
use ephyra_wire::service::Request;
use serde::Serialize;

use crate::api::error;

/// The entries of a page when none is asked for.
const DEFAULT: usize = 100;
/// The most entries of a page.
const MOST: usize = 500;
/// The longest text that a token may stand for.
const TOKEN_BYTES: usize = 512;

/// Which page a request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Page {
    /// The last entry of the page before.
    pub(super) after: Option<String>,
    /// How many entries.
    pub(super) limit: usize,
}

/// A page.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Items<T> {
    items: Vec<T>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_token: Option<String>,
}

impl Page {
    pub(super) fn of(request: &Request) -> Result<Self, ApiError> {
        Self::read(request.query("maxResults"), request.query("nextToken"))
    }

    fn read(max_results: Option<&str>, next_token: Option<&str>) -> Result<Self, ApiError> {
        let limit = match max_results.filter(|text| !text.is_empty()) {
            None => DEFAULT,
            Some(text) => match text.parse::<usize>() {
                Ok(number) if number > 0 => number.min(MOST),
                _ => return Err(error::bad_request("Invalid maxResults: it must be a positive number")),
            },
        };
        let after = next_token.filter(|text| !text.is_empty()).map(|token| {
            let bytes = URL_SAFE_NO_PAD
                .decode(token)
                .ok()
                .filter(|bytes| bytes.len() <= TOKEN_BYTES);
            let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
            text.ok_or_else(|| error::bad_request("Invalid nextToken"))
        });
        let after = after.transpose()?;
        Ok(Self { after, limit })
    }

    /// The page of entries that are in the order of their names.
    pub(super) fn cut<T>(&self, entries: impl Iterator<Item = (String, T)>) -> Items<T> {
        let is_behind = |name: &str| self.after.as_deref().is_none_or(|after| name > after);
        let mut entries = entries.filter(|(name, _)| is_behind(name));
        let mut items = Vec::new();
        let mut last = None;
        for (name, entry) in entries.by_ref().take(self.limit) {
            items.push(entry);
            last = Some(name);
        }
        let has_more = entries.next().is_some();
        Items {
            items,
            next_token: last.filter(|_| has_more).map(|name| URL_SAFE_NO_PAD.encode(name)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_go_on_where_the_last_one_ended() {
        let names = || ["a", "b", "c"].into_iter().map(|name| (name.to_owned(), name));
        let first = Page::read(Some("2"), None).unwrap().cut(names());
        assert_eq!(first.items, ["a", "b"]);
        let rest = Page::read(Some("2"), first.next_token.as_deref()).unwrap().cut(names());
        assert_eq!(rest.items, ["c"]);
        assert_eq!(rest.next_token, None);
        assert_eq!(Page::read(None, None).unwrap().cut(names()).next_token, None);
    }

    #[test]
    fn other_texts_are_refused() {
        for (max, token) in [
            (Some("0"), None),
            (Some("-1"), None),
            (Some("x"), None),
            (None, Some("§")),
        ] {
            assert_eq!(Page::read(max, token).unwrap_err().code, "BadRequestException");
        }
        assert_eq!(Page::read(Some("100000"), None).unwrap().limit, MOST);
    }
}
