//! Environment variables: their names, those that are the platform's, and their size.

use ephyra_core::limits;
use ephyra_wire::error::ApiError;
use serde::Deserialize;

use super::Environment;
use crate::error;
use crate::pairs::Pairs;

/// Names that a function may not set, as the platform sets them.
const RESERVED_VARIABLES: &[&str] = &[
    "_HANDLER",
    "_X_AMZN_TRACE_ID",
    "AWS_ACCESS_KEY",
    "AWS_ACCESS_KEY_ID",
    "AWS_DEFAULT_REGION",
    "AWS_EXECUTION_ENV",
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
    "AWS_LAMBDA_FUNCTION_NAME",
    "AWS_LAMBDA_FUNCTION_VERSION",
    "AWS_LAMBDA_INITIALIZATION_TYPE",
    "AWS_LAMBDA_LOG_GROUP_NAME",
    "AWS_LAMBDA_LOG_STREAM_NAME",
    "AWS_LAMBDA_MAX_CONCURRENCY",
    "AWS_LAMBDA_METADATA_API",
    "AWS_LAMBDA_METADATA_TOKEN",
    "AWS_LAMBDA_RUNTIME_API",
    "AWS_REGION",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "LAMBDA_RUNTIME_DIR",
    "LAMBDA_TASK_ROOT",
];

/// Refuses what the model allows and a function cannot have. `body` is the whole request, for a message that shows
/// the variables in the order sent.
pub(super) fn check(pairs: &Pairs, body: &[u8]) -> Result<(), ApiError> {
    let reserved: Vec<&str> = pairs
        .0
        .iter()
        .map(|(name, _)| name.as_str())
        .filter(|name| is_reserved(name))
        .collect();
    if !reserved.is_empty() {
        return Err(error::invalid_parameter(format!(
            "Lambda was unable to configure your environment variables because the environment variables you have \
             provided contains reserved keys that are currently not supported for modification. Reserved keys used in \
             this request: {}",
            reserved.join(", ")
        )));
    }
    if let Some((name, _)) = pairs.0.iter().find(|(_, value)| value.contains('\0')) {
        return Err(error::invalid_parameter(format!(
            "The environment variable {name} holds a NUL character."
        )));
    }
    if pairs.measured().len() > limits::VARIABLES_BYTES {
        let measured = as_sent(body).map_or_else(|| pairs.measured(), |pairs| pairs.measured());
        return Err(error::invalid_parameter(format!(
            "Lambda was unable to configure your environment variables because the environment variables you have \
             provided exceeded the 4KB limit. String measured: {measured}"
        )));
    }
    Ok(())
}

/// The variables in the order sent: the way that bodies are read puts them in another.
fn as_sent(body: &[u8]) -> Option<Pairs> {
    #[derive(Deserialize)]
    struct Body {
        #[serde(rename = "Environment")]
        environment: Environment,
    }
    serde_json::from_slice::<Body>(body).ok()?.environment.variables
}

/// `[a-zA-Z]([a-zA-Z0-9_])+`
pub(super) fn is_variable(name: &str) -> bool {
    name.len() >= 2
        && name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

pub(super) fn is_reserved(name: &str) -> bool {
    RESERVED_VARIABLES.contains(&name)
}
