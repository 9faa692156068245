//! The errors that operations answer with, each spelled as AWS spells it where that is known.

use ephyra_core::id::AccountId;
use ephyra_store::StoreError;
use ephyra_wire::error::ApiError;
use http::StatusCode;

/// 400.
pub(crate) fn bad_request(message: impl Into<String>) -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, "BadRequestException", message)
}

/// 404.
pub(crate) fn not_found(message: impl Into<String>) -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "NotFoundException", message)
}

/// 404 for an API.
pub(crate) fn api_not_found(account: &AccountId, api_id: &str) -> ApiError {
    not_found(format!("Invalid API identifier specified {account}:{}", quoted(api_id)))
}

/// 404 for something of an API, such as an `Integration`.
pub(crate) fn part_not_found(what: &str, id: &str) -> ApiError {
    not_found(format!("Invalid {what} identifier specified {}", quoted(id)))
}

/// 404 for a stage.
pub(crate) fn stage_not_found() -> ApiError {
    not_found("Invalid stage identifier specified")
}

/// 404 for a custom domain name.
pub(crate) fn domain_not_found() -> ApiError {
    not_found("The domain name resource specified in the request was not found.")
}

/// 404 for a mapping.
pub(crate) fn mapping_not_found() -> ApiError {
    not_found("The api mapping resource specified in the request was not found.")
}

/// 409.
pub(crate) fn conflict(message: impl Into<String>) -> ApiError {
    ApiError::new(StatusCode::CONFLICT, "ConflictException", message)
}

/// 409, there are too many already; `what` and `whole` such as `Routes` and `API`.
pub(crate) fn too_many(what: &str, whole: &str, limit: usize) -> ApiError {
    conflict(format!(
        "Maximum number of {what} for this {whole} has been reached. The limit is {limit}."
    ))
}

/// 400, something that AWS has and this version has not.
pub(crate) fn not_available(what: &str) -> ApiError {
    bad_request(format!("{what}: not available in this version of Ephyra."))
}

/// 413.
pub(crate) fn too_large(limit: usize) -> ApiError {
    let message = format!("The request is larger than {limit} bytes.");
    ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "BadRequestException", message)
}

/// 500; `message` must not give away anything of the machine.
pub(crate) fn internal(message: &str) -> ApiError {
    ApiError::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "InternalServerErrorException",
        message,
    )
}

/// A store that failed: the cause goes to the log, the client learns that a retry may help.
pub(crate) fn store(error: StoreError) -> ApiError {
    match error {
        StoreError::Conflict => {
            conflict("Unable to complete operation due to concurrent modification. Please try again later.")
        }
        StoreError::TooLarge(bytes) => bad_request(format!(
            "The configuration takes {bytes} bytes, more than the 1048576 that can be stored."
        )),
        error => {
            let cause = &error as &dyn std::error::Error;
            tracing::error!(error = cause, "the state of HTTP APIs could not be read or written");
            internal("The state could not be read or written. Please try again.")
        }
    }
}

/// As much of a client's text as an error repeats.
pub(crate) fn quoted(text: &str) -> String {
    text.chars().take(256).collect()
}
