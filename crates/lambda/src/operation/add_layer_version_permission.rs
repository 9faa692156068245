//! `AddLayerVersionPermission`, `GetLayerVersionPolicy` and `RemoveLayerVersionPermission`. Kept and shown: layers of
//! other accounts do not reach here yet.

use ephyra_wire::error::ApiError;
use ephyra_wire::rest::read_json;
use ephyra_wire::service::Response;
use ephyra_wire::validation::{Constraint, Violations};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::add_permission::add;
use super::{created, layer, no_content, ok};
use crate::error;
use crate::lambda::Call;
use crate::ledger::Stored;
use crate::name;
use crate::record::{LayerRecord, Statement, principal};

const ACTION: &str = "lambda:GetLayerVersion";

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Input {
    statement_id: Option<String>,
    action: Option<String>,
    principal: Option<String>,
    organization_id: Option<String>,
}

/// `AddLayerVersionPermission`.
pub(super) async fn run(call: Call) -> Result<Response, ApiError> {
    let inner = call.inner();
    let input: Input = read_json(&call.request.body)?;
    let mut violations = Violations::default();
    match &input.statement_id {
        None => violations.add_null("statementId"),
        Some(id) => {
            violations.check_length("statementId", id, 1, 100);
            if !name::is_word(id) {
                violations.add("statementId", id, Constraint::Pattern("([a-zA-Z0-9-_]+)"));
            }
        }
    }
    match input.action.as_deref() {
        None => violations.add_null("action"),
        Some(ACTION) => {}
        Some(other) => violations.add("action", other, Constraint::Pattern(ACTION)),
    }
    if input.principal.is_none() {
        violations.add_null("principal");
    }
    let name = layer::read_name(&call, violations)?;
    let number = layer::read_number(&call)?;
    let who = input.principal.as_deref().and_then(principal).ok_or_else(|| {
        error::invalid_parameter("The provided principal was invalid. Please check the principal and try again.")
    })?;
    let _turn = inner.turn(&name).await;
    let mut stored = find(&call, &name, number).await?;
    check_revision(&call, &stored.record)?;
    let condition = match input.organization_id {
        None => Map::new(),
        Some(id) => Map::from_iter([("StringEquals".to_owned(), json!({ "aws:PrincipalOrgID": id }))]),
    };
    let statement = Statement {
        sid: input.statement_id.unwrap_or_default(),
        effect: "Allow".to_owned(),
        principal: who,
        action: ACTION.to_owned(),
        resource: stored.record.arn(inner.place()),
        condition,
    };
    let text = serde_json::to_string(&statement).unwrap_or_default();
    add(&mut stored.record.policy, statement)?;
    inner.ledger.update_layer(&stored).await.map_err(error::store)?;
    Ok(created(&json!({
        "Statement": text,
        "RevisionId": stored.record.policy.revision_id(),
    })))
}

/// `GetLayerVersionPolicy`.
pub(super) async fn get(call: Call) -> Result<Response, ApiError> {
    let name = layer::read_name(&call, Violations::default())?;
    let layer = find(&call, &name, layer::read_number(&call)?).await?.record;
    if layer.policy.is_empty() {
        return Err(no_policy());
    }
    let document: Value = json!({
        "Policy": layer.policy.document(),
        "RevisionId": layer.policy.revision_id(),
    });
    Ok(ok(&document))
}

/// `RemoveLayerVersionPermission`.
pub(super) async fn remove(call: Call) -> Result<Response, ApiError> {
    let inner = call.inner();
    let name = layer::read_name(&call, Violations::default())?;
    let number = layer::read_number(&call)?;
    let sid = call.labels.get("StatementId");
    let _turn = inner.turn(&name).await;
    let mut stored = find(&call, &name, number).await?;
    check_revision(&call, &stored.record)?;
    if stored.record.policy.is_empty() {
        return Err(no_policy());
    }
    if !stored.record.policy.remove(sid) {
        return Err(error::not_found(format!(
            "Statement {sid} is not found in resource policy."
        )));
    }
    inner.ledger.update_layer(&stored).await.map_err(error::store)?;
    Ok(no_content())
}

async fn find(call: &Call, name: &str, number: u64) -> Result<Stored<LayerRecord>, ApiError> {
    let inner = call.inner();
    let layer = inner.ledger.layer(name, number).await.map_err(error::store)?;
    layer.ok_or_else(|| {
        let arn = inner.place().layer_arn(name, Some(number));
        error::not_found(format!("Layer version {arn} does not exist."))
    })
}

fn check_revision(call: &Call, layer: &LayerRecord) -> Result<(), ApiError> {
    if layer.policy.is_at(call.request.query("RevisionId")) {
        Ok(())
    } else {
        Err(error::precondition_failed("GetLayerPolicy"))
    }
}

fn no_policy() -> ApiError {
    error::not_found("No policy is associated with the given resource.")
}
