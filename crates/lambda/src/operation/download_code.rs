use ephyra_core::digest::Digest;
use ephyra_wire::error::ApiError;
use ephyra_wire::service::{Body, Response};
use http::{HeaderMap, HeaderValue, StatusCode};

use crate::error;
use crate::lambda::Call;

/// The zip of a package, for who holds a signed link to it.
pub(super) async fn run(call: Call) -> Result<Response, ApiError> {
    let digest: Digest = call
        .labels
        .get("Digest")
        .parse()
        .map_err(|_| error::resource_not_found())?;
    let zip = call.inner().depot.zip(digest).await.map_err(error::store)?;
    let zip = zip.ok_or_else(error::resource_not_found)?;
    let mut headers = HeaderMap::new();
    headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/zip"));
    Ok(Response {
        status: StatusCode::OK,
        headers,
        body: Body::Full(zip),
    })
}
