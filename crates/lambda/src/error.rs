//! The errors that operations answer with, each spelled as AWS spells it.
//!
//! Lambda is not uniform: some errors carry their text in `message`, some in `Message`, some have a `Type`. The
//! spellings here are those of recorded answers.

use ephyra_store::StoreError;
use ephyra_wire::error::ApiError;
use http::StatusCode;

/// 400, a parameter's value cannot be used.
pub(crate) fn invalid_parameter(message: impl Into<String>) -> ApiError {
    untyped_invalid_parameter(message).with("Type", "User")
}

/// The same without `Type`, as a few checks of AWS's answer.
pub(crate) fn untyped_invalid_parameter(message: impl Into<String>) -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, "InvalidParameterValueException", message)
}

/// 404.
pub(crate) fn not_found(message: impl Into<String>) -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "ResourceNotFoundException", message)
        .upper()
        .with("Type", "User")
}

/// 404 for a function or version, named by its ARN.
pub(crate) fn function_not_found(arn: &str) -> ApiError {
    not_found(format!("Function not found: {arn}"))
}

/// 404 for an alias, named by its ARN.
pub(crate) fn alias_not_found(arn: &str) -> ApiError {
    not_found(format!("Cannot find alias arn: {arn}"))
}

/// 404 without saying of what.
pub(crate) fn resource_not_found() -> ApiError {
    not_found("The resource you requested does not exist.")
}

/// 409.
pub(crate) fn conflict(message: impl Into<String>) -> ApiError {
    ApiError::new(StatusCode::CONFLICT, "ResourceConflictException", message).with("Type", "User")
}

/// 409, the function is not in a state that allows this.
pub(crate) fn wrong_state(state: &str) -> ApiError {
    conflict(format!(
        "The operation cannot be performed at this time. The function is currently in the following state: {state}"
    ))
}

/// 412; `api` is the operation that tells the current revision id.
pub(crate) fn precondition_failed(api: &str) -> ApiError {
    ApiError::new(
        StatusCode::PRECONDITION_FAILED,
        "PreconditionFailedException",
        format!(
            "The Revision Id provided does not match the latest Revision Id. Call the {api} API to retrieve the \
             latest Revision Id"
        ),
    )
    .with("Type", "User")
}

/// 403 whose text is null: AWS says no more about other accounts' functions. See [`is_silent`].
pub(crate) fn access_denied() -> ApiError {
    ApiError::new(StatusCode::FORBIDDEN, "AccessDeniedException", "").upper()
}

/// Whether the error's text is to be null rather than empty.
pub(crate) fn is_silent(error: &ApiError) -> bool {
    error.code == "AccessDeniedException" && error.message.is_empty()
}

/// 400, the body is not what the operation reads.
pub(crate) fn invalid_content(message: impl Into<String>) -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, "InvalidRequestContentException", message).with("Type", "User")
}

/// 413, the request is larger than `limit` bytes; `operation` as AWS names it.
pub(crate) fn too_large(limit: usize, operation: &str) -> ApiError {
    ApiError::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        "RequestEntityTooLargeException",
        format!("Request must be smaller than {limit} bytes for the {operation} operation"),
    )
}

/// 500; `message` must not give away anything of the machine.
pub(crate) fn service(message: impl Into<String>) -> ApiError {
    ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "ServiceException", message)
        .upper()
        .with("Type", "Service")
}

/// A store that failed: the cause goes to the log, the client learns that a retry may help. A conflict between two
/// writers is the client's to retry as well.
pub(crate) fn store(error: StoreError) -> ApiError {
    match error {
        StoreError::Conflict => conflict("The resource has changed meanwhile. Please try again."),
        StoreError::TooLarge(bytes) => invalid_parameter(format!(
            "The configuration takes {bytes} bytes, more than the 1048576 that can be stored."
        )),
        error => {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "the state could not be read or written"
            );
            service("The state could not be read or written. Please try again.")
        }
    }
}

/// 501, an operation or member that AWS has and this version has not.
pub(crate) fn not_available(what: &str) -> ApiError {
    ApiError::new(
        StatusCode::NOT_IMPLEMENTED,
        "NotImplementedException",
        format!("{what} is not available in this version of Ephyra."),
    )
    .with("Type", "User")
}
