use ephyra_wire::error::ApiError;
use ephyra_wire::service::Response;
use serde_json::json;

use super::ok;
use crate::lambda::Call;
use crate::name::Shape;

/// `GetFunctionCodeSigningConfig`: no function has one, and clients ask for it each time they look.
pub(super) async fn run(call: Call) -> Result<Response, ApiError> {
    let named = call.named(Shape::Read)?;
    let arn = named.unqualified_arn(call.inner().place());
    let function = call.existing(&named, &arn).await?;
    Ok(ok(&json!({ "FunctionName": function.record.name })))
}
