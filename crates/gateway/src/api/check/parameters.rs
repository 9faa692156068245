//! Parameter mapping: how requests and answers are changed on their way. What it means is read by those who do it.

use std::collections::BTreeMap;

use ephyra_wire::error::ApiError;

use super::{count, length};
use crate::api::error::{bad_request, quoted};
use crate::api::live::integrate::mapping::{Mapping, MappingError};

/// Changes of one request or answer.
const CHANGES: usize = 100;
/// Statuses with changes.
const STATUSES: usize = 20;
/// The longest value, in characters.
const VALUE: usize = 512;

/// Checks changes of a request.
pub(super) fn request(changes: &BTreeMap<String, String>) -> Result<(), ApiError> {
    all("requestParameters", changes, Mapping::of_requests)
}

/// Checks changes of answers by their status.
pub(super) fn responses(changes: &BTreeMap<String, BTreeMap<String, String>>) -> Result<(), ApiError> {
    count("responseParameters", changes.len(), STATUSES)?;
    for (status, changes) in changes {
        let is_status = status.len() == 3 && matches!(status.parse(), Ok(200..=599));
        if !is_status {
            return Err(bad_request(format!(
                "Invalid response parameter key: {} is not a status code from 200 to 599",
                quoted(status)
            )));
        }
        all("responseParameters", changes, Mapping::of_answers)?;
    }
    Ok(())
}

fn all(
    member: &str,
    changes: &BTreeMap<String, String>,
    compile: fn(&BTreeMap<String, String>) -> Result<Mapping, MappingError>,
) -> Result<(), ApiError> {
    count(member, changes.len(), CHANGES)?;
    for (key, value) in changes {
        length(member, key, 1, VALUE)?;
        length(member, value, 1, VALUE)?;
        if value.bytes().any(|byte| byte.is_ascii_control()) {
            return Err(bad_request(
                "Invalid mapping expression specified: it has control characters",
            ));
        }
    }
    let compiled = compile(changes);
    compiled.map_err(|error| bad_request(format!("Invalid mapping expression specified: {error}")))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(key: &str, value: &str) -> BTreeMap<String, String> {
        BTreeMap::from([(key.to_owned(), value.to_owned())])
    }

    #[test]
    fn changes_of_requests() {
        for (key, value) in [
            ("append:header.header1", "$context.requestId"),
            ("overwrite:header.x", "a ${request.header.y} b"),
            ("remove:querystring.qs1", "''"),
            ("append:querystring.q", "$request.body.user.name"),
            ("append:header.e", "$stageVariables.environmentId"),
        ] {
            assert!(request(&one(key, value)).is_ok(), "{key} {value}");
        }
        for (key, value) in [
            ("append:header.Host:", "x"),
            ("append:path", "x"),
            ("overwrite:statuscode", "200"),
            ("append:header.X-Forwarded-For", "x"),
            ("append:header.authorization", "x"),
            ("append:header.x", ""),
            ("append:header.x", "a\r\nb"),
            ("header.x", "x"),
        ] {
            assert!(request(&one(key, value)).is_err(), "{key} {value}");
        }
    }

    #[test]
    fn changes_of_answers() {
        let with = |status: &str, key, value| BTreeMap::from([(status.to_owned(), one(key, value))]);
        assert!(responses(&with("500", "overwrite:statuscode", "403")).is_ok());
        assert!(responses(&with("404", "append:header.error", "$stageVariables.e")).is_ok());
        assert!(responses(&with("404", "append:querystring.a", "b")).is_err());
        assert!(responses(&with("99", "append:header.a", "b")).is_err());
        assert!(responses(&with("0200", "append:header.a", "b")).is_err());
    }
}
