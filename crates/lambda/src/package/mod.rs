//! Packages: zips of code and layers, checked, unpacked once for each digest and removed when nothing uses them.
//!
//! Read [`unpack`] for what is refused, [`depot`] for what is kept and how long.

mod depot;
mod path;
mod unpack;

pub(crate) use depot::{Depot, DepotError};
pub(crate) use unpack::{UnpackError, unpack};

use base64::Engine as _;
use bytes::Bytes;
use ephyra_core::limits;
use ephyra_wire::error::ApiError;
use http::StatusCode;

use crate::error;

/// What AWS says of any zip it cannot use.
pub(crate) const UNUSABLE: &str = "Could not unzip uploaded file. Please check your file, then try to upload again.";

/// Reads a zip out of a request's base64.
///
/// # Errors
/// What AWS answers when it is no base64, or too large.
pub(crate) fn decode(text: &str) -> Result<Bytes, ApiError> {
    let most = limits::ZIP_BYTES;
    let oversized = || {
        ApiError::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "RequestEntityTooLargeException",
            format!("Zipped size must be smaller than {most} bytes"),
        )
    };
    // Told before any memory is taken for the decoded form.
    if text.len() / 4 * 3 > most + 3 {
        return Err(oversized());
    }
    let zip = base64::engine::general_purpose::STANDARD
        .decode(text)
        .map_err(|_| error::invalid_parameter(UNUSABLE))?;
    if zip.len() > most {
        return Err(oversized());
    }
    Ok(zip.into())
}

impl From<DepotError> for ApiError {
    fn from(error: DepotError) -> Self {
        match error {
            DepotError::Unpack(UnpackError::Empty) => error::invalid_parameter("Uploaded file must be a non-empty zip"),
            DepotError::Unpack(UnpackError::TooLarge) => error::invalid_parameter(format!(
                "Unzipped size must be smaller than {} bytes",
                limits::UNZIPPED_BYTES
            )),
            DepotError::Unpack(cause @ (UnpackError::Zip(_) | UnpackError::Refused { .. })) => {
                tracing::debug!(error = &cause as &dyn std::error::Error, "a package was refused");
                error::invalid_parameter(UNUSABLE)
            }
            DepotError::Unpack(cause @ UnpackError::Write { .. }) => {
                tracing::error!(
                    error = &cause as &dyn std::error::Error,
                    "a package could not be unpacked"
                );
                error::service("The package could not be written to disk.")
            }
            DepotError::Blobs(cause) => error::store(cause),
            DepotError::Folder { .. } | DepotError::Lost(_) | DepotError::Stopped => {
                tracing::error!(error = &error as &dyn std::error::Error, "a package could not be kept");
                error::service("The package could not be kept.")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_decoded_or_refused() {
        assert_eq!(decode("aGk=").unwrap(), Bytes::from_static(b"hi"));
        assert_eq!(decode("a").unwrap_err().message, UNUSABLE);
    }

    #[test]
    fn a_zip_over_the_limit_is_too_large() {
        let text = "A".repeat((limits::ZIP_BYTES + 3) / 3 * 4);
        let error = decode(&text).unwrap_err();
        assert_eq!(error.status, StatusCode::PAYLOAD_TOO_LARGE);
        assert_eq!(error.message, "Zipped size must be smaller than 52428800 bytes");
    }
}
