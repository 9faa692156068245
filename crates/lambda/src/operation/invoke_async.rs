use ephyra_wire::error::ApiError;
use ephyra_wire::rest::json_response;
use ephyra_wire::service::Response;
use http::StatusCode;
use serde_json::json;

use super::invoke::{Mode, Wanted, accept, check_payload, find};
use crate::lambda::Call;

/// The old way to send an event: as `Invoke` with type Event, with a body that says so.
pub(super) async fn run(call: Call) -> Result<Response, ApiError> {
    let wanted = Wanted::read(&call, &["RequestResponse"])?;
    let inner = call.inner();
    check_payload(&call.request.body, Mode::Event)?;
    find(inner, &wanted.named).await?;
    accept(inner, &call.request, wanted).await?;
    Ok(json_response(StatusCode::ACCEPTED, &json!({ "Status": 202 })))
}
