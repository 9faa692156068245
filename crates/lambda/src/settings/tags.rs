//! Tags of a function.

use std::collections::BTreeMap;

use ephyra_wire::error::ApiError;

use crate::error;

/// Checks tags, and that there are no more than an object may have.
pub(crate) fn check_tags(tags: &BTreeMap<String, String>) -> Result<(), ApiError> {
    const TAGS: usize = 50;
    if tags.len() > TAGS {
        return Err(error::invalid_parameter("Number of tags exceeds resource tag limit."));
    }
    let is_text = |text: &str, most: usize| {
        text.chars().count() <= most
            && text
                .chars()
                .all(|c| c.is_alphanumeric() || c.is_whitespace() || "_.:/=+-@".contains(c))
    };
    for (key, value) in tags {
        if key.is_empty() || !is_text(key, 128) || !is_text(value, 256) || key.starts_with("aws:") {
            return Err(error::invalid_parameter(format!(
                "The tag {key:?} has a key or a value that tags cannot have."
            )));
        }
    }
    Ok(())
}
