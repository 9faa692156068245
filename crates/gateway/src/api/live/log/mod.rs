//! Access logs: a line for each request, in the words of its stage.

pub mod format;
pub mod sink;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use format::Format;

/// Where a stage's requests are logged, and how.
#[derive(Clone, Debug)]
pub struct StageLog {
    /// The log group.
    pub group: Arc<str>,
    /// The line.
    pub format: Format,
}

impl StageLog {
    /// The log of a stage with this destination (the ARN of a log group, with or without `:*`) and this format.
    pub fn new(destination: &str, format: &str) -> Option<Self> {
        let mut parts = destination.splitn(7, ':');
        let arn: [&str; 6] = std::array::from_fn(|_| parts.next().unwrap_or_default());
        let group = parts.next()?;
        let group = group.strip_suffix(":*").unwrap_or(group);
        let is_group = arn[0] == "arn" && arn[2] == "logs" && arn[5] == "log-group";
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"_-/.#".contains(&byte);
        let is_named = (1..=512).contains(&group.len()) && group.bytes().all(is_name);
        (is_group && is_named).then(|| Self {
            group: group.into(),
            format: Format::new(format),
        })
    }
}
