use ephyra_wire::error::ApiError;
use ephyra_wire::service::Response;
use ephyra_wire::validation::Violations;

use super::{ok, routing};
use crate::error;
use crate::lambda::Call;
use crate::name::Shape;

pub(super) async fn run(call: Call) -> Result<Response, ApiError> {
    let inner = call.inner();
    let named = call.named(Shape::Write)?;
    let name = call.labels.get("Name");
    let mut violations = Violations::default();
    routing::check_name(&mut violations, name);
    violations.finish()?;
    let missing = || error::alias_not_found(&format!("{}:{name}", named.unqualified_arn(inner.place())));
    let function = named.function().ok_or_else(missing)?;
    let alias = inner
        .alias(&function, &name.parse().map_err(|_| missing())?)
        .await?
        .ok_or_else(missing)?;
    Ok(ok(&alias.record.describe(&function, inner.place())))
}
