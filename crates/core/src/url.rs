//! Function URLs: what is behind an address, found by its id on the way of every request.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};

use crate::compute::ResolveError;
use crate::id::{FunctionName, Qualifier};

/// The length of [`FunctionUrl::id`].
pub const URL_ID_LEN: usize = 32;

/// One function URL, as it is at this moment. A change of it makes another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionUrl {
    /// The first label of its host name: 32 of `[a-z0-9]`.
    pub id: String,
    /// The function.
    pub function: FunctionName,
    /// The alias that it leads to; `None` is `$LATEST`.
    pub qualifier: Option<Qualifier>,
    /// Who has to sign.
    pub auth: UrlAuth,
    /// Whether the resource policy of the function or alias lets everybody call the URL without a signature. Without
    /// that even [`UrlAuth::None`] lets nobody in.
    pub is_open: bool,
    /// How answers are sent.
    pub invoke_mode: InvokeMode,
    /// Which pages of other origins may call. `None`: that is left to the function.
    pub cors: Option<Cors>,
}

/// A URL's `AuthType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum UrlAuth {
    /// Nobody has to sign.
    #[serde(rename = "NONE")]
    None,
    /// Requests are signed for the service `lambda`.
    #[serde(rename = "AWS_IAM")]
    AwsIam,
}

impl UrlAuth {
    /// AWS's word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "NONE",
            Self::AwsIam => "AWS_IAM",
        }
    }
}

/// A URL's `InvokeMode`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum InvokeMode {
    /// An answer is sent when it is whole.
    #[default]
    Buffered,
    /// An answer is sent as the function writes it.
    ResponseStream,
}

impl InvokeMode {
    /// AWS's word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Buffered => "BUFFERED",
            Self::ResponseStream => "RESPONSE_STREAM",
        }
    }
}

/// Cross-origin resource sharing: which pages of other origins may call. An empty list allows nothing of its kind.
///
/// In JSON what was not given is left out, as AWS leaves it out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Cors {
    /// Whether pages may send cookies and the like.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub allow_credentials: bool,
    /// Headers that pages may send; `*` is all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allow_headers: Vec<String>,
    /// Methods that pages may use; `*` is all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allow_methods: Vec<String>,
    /// Origins of the pages, such as `https://example.com`; `*` is all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allow_origins: Vec<String>,
    /// Headers that pages may read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub expose_headers: Vec<String>,
    /// How long a browser may remember what it was told, in seconds: at most 86,400. With 0 it is not told a time.
    #[serde(skip_serializing_if = "is_zero")]
    pub max_age: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// Finds function URLs.
pub trait FunctionUrls: Send + Sync + 'static {
    /// Finds a URL by its id; `None` if there is none, or if its function or alias is gone. Cached: a hit costs a lock
    /// and a reference. A change is seen by whoever asks after it was acknowledged.
    fn find<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Option<Arc<FunctionUrl>>, ResolveError>>;
}
