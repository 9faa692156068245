use ephyra_wire::error::ApiError;
use ephyra_wire::service::Response;
use serde_json::json;

use super::ok;
use super::permission::Owner;
use crate::error;
use crate::lambda::Call;
use crate::name::Shape;

pub(super) async fn run(call: Call) -> Result<Response, ApiError> {
    let named = call.named(Shape::Read)?;
    let owner = Owner::find(&call, &named)
        .await?
        .filter(|owner| !owner.attached().policy.is_empty())
        .ok_or_else(error::resource_not_found)?;
    Ok(ok(&json!({
        "Policy": owner.attached().policy.document(),
        "RevisionId": owner.attached().policy.revision_id(),
    })))
}
