use ephyra_wire::error::ApiError;
use ephyra_wire::service::Response;

use super::no_content;
use super::permission::Owner;
use crate::error;
use crate::lambda::Call;
use crate::name::Shape;

pub(super) async fn run(call: Call) -> Result<Response, ApiError> {
    let inner = call.inner();
    let named = call.named(Shape::Read)?;
    let sid = call.labels.get("StatementId");
    let _turn = inner.turn(&named.name).await;
    if inner.function(named.function()).await?.is_none() {
        let arn = named.arn(inner.place());
        return Err(error::not_found(format!("No policy found for: {arn}")));
    }
    let mut owner = Owner::find(&call, &named)
        .await?
        .ok_or_else(|| named.qualifier_not_found(inner.place()))?;
    if owner.attached().policy.is_empty() {
        return Err(error::not_found("No policy is associated with the given resource."));
    }
    if !owner.attached().policy.has(sid) {
        return Err(error::not_found(format!(
            "Statement {sid} is not found in resource policy."
        )));
    }
    if !owner.attached().policy.is_at(call.request.query("RevisionId")) {
        return Err(error::precondition_failed("GetPolicy"));
    }
    owner.attached_mut().policy.remove(sid);
    owner.write(&call).await?;
    Ok(no_content())
}
