//! `PutFunctionConcurrency`, `GetFunctionConcurrency` and `DeleteFunctionConcurrency`: reserved concurrency.

use ephyra_wire::error::ApiError;
use ephyra_wire::rest::read_json;
use ephyra_wire::service::Response;
use ephyra_wire::validation::Violations;
use serde::Deserialize;
use serde_json::json;

use super::{no_content, ok};
use crate::error;
use crate::lambda::Call;
use crate::name::Shape;
use crate::totals::Totals;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Input {
    reserved_concurrent_executions: Option<i64>,
}

pub(super) async fn put(call: Call) -> Result<Response, ApiError> {
    let inner = call.inner();
    let named = call.named(Shape::Write)?;
    if named.qualifier.is_some() {
        return Err(error::invalid_parameter(
            "This operation is permitted on Lambda functions only. Aliases and versions do not support this \
             operation. Please specify either a function name or an unqualified function ARN.",
        ));
    }
    let input: Input = read_json(&call.request.body)?;
    let mut violations = Violations::default();
    match input.reserved_concurrent_executions {
        Some(wanted) => violations.check_range("reservedConcurrentExecutions", wanted, 0, i64::from(i32::MAX)),
        None => violations.add_null("reservedConcurrentExecutions"),
    }
    violations.finish()?;
    let wanted = input
        .reserved_concurrent_executions
        .and_then(|wanted| u32::try_from(wanted).ok())
        .unwrap_or_default();
    let _turn = inner.turn(&named.name).await;
    let mut function = call.existing(&named, &named.qualified_arn(inner.place())).await?;
    let name = function.record.name.clone();
    let least = Totals::least_unreserved();
    let unreserved = inner.totals.unreserved(inner.options.concurrency, Some(&name));
    if wanted > unreserved.saturating_sub(least) {
        return Err(error::untyped_invalid_parameter(format!(
            "Specified ReservedConcurrentExecutions for function decreases account's UnreservedConcurrentExecution \
             below its minimum value of [{least}]."
        )));
    }
    let provisioned = inner.totals.provisioned_of(&name, "");
    if wanted < provisioned {
        return Err(error::untyped_invalid_parameter(format!(
            "ReservedConcurrentExecutions  {wanted} should not be lower than function's total provisioned concurrency \
             [{provisioned}]."
        )));
    }
    function.record.reserved = Some(wanted);
    inner.ledger.update_function(&function).await.map_err(error::store)?;
    inner.totals.set_reserved(&name, Some(wanted));
    inner.deps.steer.set_reserved(&name, Some(wanted));
    Ok(ok(&json!({ "ReservedConcurrentExecutions": wanted })))
}

pub(super) async fn get(call: Call) -> Result<Response, ApiError> {
    let named = call.named(Shape::Write)?;
    let arn = named.unqualified_arn(call.inner().place());
    let function = call.existing(&named, &arn).await?;
    Ok(match function.record.reserved {
        Some(reserved) => ok(&json!({ "ReservedConcurrentExecutions": reserved })),
        None => ok(&json!({})),
    })
}

pub(super) async fn delete(call: Call) -> Result<Response, ApiError> {
    let inner = call.inner();
    let named = call.named(Shape::Write)?;
    let _turn = inner.turn(&named.name).await;
    let mut function = call.existing(&named, &named.unqualified_arn(inner.place())).await?;
    if function.record.reserved.take().is_some() {
        inner.ledger.update_function(&function).await.map_err(error::store)?;
        inner.totals.set_reserved(&function.record.name, None);
        inner.deps.steer.set_reserved(&function.record.name, None);
    }
    Ok(no_content())
}
