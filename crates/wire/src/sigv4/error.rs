//! Why a request's signature is refused, in AWS's words.

use http::StatusCode;

use super::SigningTime;
use crate::error::ApiError;

/// Why a request is refused before any service sees it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// Neither an `Authorization` header nor a presigned URL's parameters.
    #[error("Missing Authentication Token")]
    MissingToken,
    /// The `Authorization` header is not what it should be.
    #[error(
        "Invalid key=value pair (missing equal-sign) in Authorization header \
         (hashed with SHA-256 and encoded with Base64): '{hash}'."
    )]
    MalformedHeader {
        /// The base64 of the header's SHA-256: the header itself may hold a secret.
        hash: String,
    },
    /// The `Authorization` header lacks parts.
    #[error("{missing}(Hashed with SHA-256 and encoded with Base64) Authorization={hash}")]
    IncompleteHeader {
        /// One sentence for each part that is missing, each followed by a space.
        missing: String,
        /// The base64 of the header's SHA-256.
        hash: String,
    },
    /// The query of a presigned URL lacks parameters.
    #[error("{missing}Re-examine the query-string parameters.")]
    IncompleteQuery {
        /// One sentence for each parameter that is missing, each followed by a space.
        missing: String,
    },
    /// A signing algorithm other than ours.
    #[error("Unsupported AWS 'algorithm': '{0}'.")]
    Algorithm(String),
    /// The credential has not five parts.
    #[error("Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, got '{0}'")]
    CredentialShape(String),
    /// The date is not in the format that signatures use.
    #[error("Date must be in ISO-8601 'basic format'. Got '{0}'. See http://en.wikipedia.org/wiki/ISO_8601")]
    Date(String),
    /// A presigned URL's time of validity is no number, or is none that is allowed.
    #[error(
        "X-Amz-Expires must be a number of seconds from 1 to {max}, got '{0}'",
        max = super::MAX_EXPIRES_SECONDS
    )]
    Expires(String),
    /// A header that must be signed is not.
    #[error("'{0}' must be a 'SignedHeader' in the AWS Authorization.")]
    NotSigned(String),
    /// The names of the signed headers are not in order, lower case and without repetition.
    #[error("SignedHeaders must be lower case, sorted, and name each header once.")]
    SignedHeaders,
    /// The scope is of a region, a service or a kind that is not served.
    #[error("{}", .0.join(" "))]
    Scope(Vec<String>),
    /// The scope's date is another than the request's.
    #[error(
        "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: \
         '{scope}' != '{date}', from '{time}'.",
        date = .time.date()
    )]
    ScopeDate {
        /// The scope's date.
        scope: String,
        /// When the request says it was signed.
        time: SigningTime,
    },
    /// Signed too long ago.
    #[error("Signature expired: {signed} is now earlier than {limit} ({now} - {validity}.)")]
    Expired {
        /// When the request says it was signed.
        signed: SigningTime,
        /// What it would have to be later than.
        limit: SigningTime,
        /// Our clock.
        now: SigningTime,
        /// How long it was valid, such as `5 min`.
        validity: String,
    },
    /// Signed in the future.
    #[error("Signature not yet current: {signed} is still later than {limit} ({now} + 5 min.)")]
    NotYetCurrent {
        /// When the request says it was signed.
        signed: SigningTime,
        /// What it would have to be earlier than.
        limit: SigningTime,
        /// Our clock.
        now: SigningTime,
    },
    /// The access key, or the session token with it, is not known.
    #[error("The security token included in the request is invalid.")]
    UnknownAccessKey,
    /// The signature is not the one that the secret gives.
    #[error(
        "The request signature we calculated does not match the signature you provided. Check your AWS Secret \
         Access Key and signing method. Consult the service documentation for details."
    )]
    Mismatch,
}

impl VerifyError {
    /// AWS's code for it.
    pub fn code(&self) -> &'static str {
        match self {
            Self::MissingToken => "MissingAuthenticationTokenException",
            Self::UnknownAccessKey => "UnrecognizedClientException",
            Self::MalformedHeader { .. }
            | Self::IncompleteHeader { .. }
            | Self::IncompleteQuery { .. }
            | Self::Algorithm(_)
            | Self::CredentialShape(_)
            | Self::Date(_)
            | Self::Expires(_) => "IncompleteSignatureException",
            Self::NotSigned(_)
            | Self::SignedHeaders
            | Self::Scope(_)
            | Self::ScopeDate { .. }
            | Self::Expired { .. }
            | Self::NotYetCurrent { .. }
            | Self::Mismatch => "InvalidSignatureException",
        }
    }
}

impl From<VerifyError> for ApiError {
    fn from(error: VerifyError) -> Self {
        Self::new(StatusCode::FORBIDDEN, error.code(), error.to_string())
    }
}
