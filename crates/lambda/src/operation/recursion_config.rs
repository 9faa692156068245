use ephyra_wire::error::ApiError;
use ephyra_wire::rest::read_json;
use ephyra_wire::service::Response;
use ephyra_wire::validation::Violations;
use serde::Deserialize;
use serde_json::{Value, json};

use super::ok;
use crate::error;
use crate::lambda::Call;
use crate::name::Shape;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Input {
    recursive_loop: Option<String>,
}

/// `GetFunctionRecursionConfig`.
pub(super) async fn get(call: Call) -> Result<Response, ApiError> {
    let named = call.named(Shape::Write)?;
    let function = call
        .existing(&named, &named.unqualified_arn(call.inner().place()))
        .await?;
    Ok(ok(&show(function.record.allows_recursion)))
}

/// `PutFunctionRecursionConfig`. Kept and shown; nothing counts loops yet.
pub(super) async fn put(call: Call) -> Result<Response, ApiError> {
    let inner = call.inner();
    let named = call.named(Shape::Write)?;
    let input: Input = read_json(&call.request.body)?;
    let mut violations = Violations::default();
    match &input.recursive_loop {
        Some(choice) => violations.check_enum("recursiveLoop", choice, &["Terminate", "Allow"]),
        None => violations.add_null("recursiveLoop"),
    }
    violations.finish()?;
    let _turn = inner.turn(&named.name).await;
    let mut function = call.existing(&named, &named.unqualified_arn(inner.place())).await?;
    function.record.allows_recursion = input.recursive_loop.as_deref() == Some("Allow");
    inner.ledger.update_function(&function).await.map_err(error::store)?;
    Ok(ok(&show(function.record.allows_recursion)))
}

fn show(allows: bool) -> Value {
    json!({ "RecursiveLoop": if allows { "Allow" } else { "Terminate" } })
}
