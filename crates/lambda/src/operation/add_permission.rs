use ephyra_core::id::{Qualifier, Version};
use ephyra_wire::error::ApiError;
use ephyra_wire::rest::read_json;
use ephyra_wire::service::Response;
use ephyra_wire::validation::{Constraint, Violations};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::created;
use super::permission::Owner;
use crate::error;
use crate::lambda::Call;
use crate::name::{self, Shape};
use crate::record::{POLICY_BYTES, Policy, Statement, principal};

/// The action of who calls a function URL.
const INVOKE_URL: &str = "lambda:InvokeFunctionUrl";

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Input {
    statement_id: Option<String>,
    action: Option<String>,
    principal: Option<String>,
    source_arn: Option<String>,
    source_account: Option<String>,
    event_source_token: Option<String>,
    revision_id: Option<String>,
    #[serde(rename = "PrincipalOrgID")]
    principal_org_id: Option<String>,
    function_url_auth_type: Option<String>,
    invoked_via_function_url: Option<bool>,
}

impl Input {
    fn check(&self, violations: &mut Violations) {
        match &self.statement_id {
            None => violations.add_null("statementId"),
            Some(id) => {
                violations.check_length("statementId", id, 1, 100);
                if !name::is_word(id) {
                    violations.add("statementId", id, Constraint::Pattern("([a-zA-Z0-9-_]+)"));
                }
            }
        }
        match &self.action {
            None => violations.add_null("action"),
            Some(action) => {
                let is_action = action == "*"
                    || action
                        .strip_prefix("lambda:")
                        .is_some_and(|rest| rest == "*" || is_made_of(rest, |b| b.is_ascii_alphabetic()));
                if !is_action {
                    let pattern = "(lambda:[*]|lambda:[a-zA-Z]+|[*])";
                    violations.add("action", action, Constraint::Pattern(pattern));
                }
            }
        }
        match &self.principal {
            None => violations.add_null("principal"),
            Some(principal) if principal.is_empty() || principal.contains(char::is_whitespace) => {
                violations.add("principal", principal, Constraint::Pattern(r"[^\s]+"));
            }
            Some(principal) => violations.check_length("principal", principal, 0, 2048),
        }
        if let Some(account) = self.source_account.as_deref().filter(|text| !name::is_account(text)) {
            violations.add("sourceAccount", account, Constraint::Pattern(r"\d{12}"));
        }
        if let Some(arn) = self.source_arn.as_deref().filter(|text| !is_source_arn(text)) {
            let pattern = r"arn:(aws[a-zA-Z0-9-]*):([a-zA-Z0-9\-])+:((eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1})?:(\d{12})?:(.*)";
            violations.add("sourceArn", arn, Constraint::Pattern(pattern));
        }
        if let Some(token) = &self.event_source_token {
            violations.check_length("eventSourceToken", token, 0, 256);
            if !is_made_of(token, |b| b.is_ascii_alphanumeric() || b"._-".contains(&b)) {
                violations.add("eventSourceToken", token, Constraint::Pattern(r"[a-zA-Z0-9._\-]+"));
            }
        }
        if let Some(id) = &self.principal_org_id {
            let is_id = id.strip_prefix("o-").is_some_and(|rest| {
                (10..=32).contains(&rest.len()) && is_made_of(rest, |b| b.is_ascii_lowercase() || b.is_ascii_digit())
            });
            if !is_id {
                violations.add("principalOrgID", id, Constraint::Pattern("o-[a-z0-9]{10,32}"));
            }
        }
        if let Some(auth) = &self.function_url_auth_type {
            violations.check_enum("functionUrlAuthType", auth, &["NONE", "AWS_IAM"]);
        }
    }

    fn condition(&self) -> Map<String, Value> {
        let mut equals = Map::new();
        let mut add = |name: &str, value: &Option<String>| {
            if let Some(value) = value {
                equals.insert(name.to_owned(), json!(value));
            }
        };
        add("AWS:SourceAccount", &self.source_account);
        add("lambda:EventSourceToken", &self.event_source_token);
        add("aws:PrincipalOrgID", &self.principal_org_id);
        add("lambda:FunctionUrlAuthType", &self.function_url_auth_type);
        let mut condition = Map::new();
        if !equals.is_empty() {
            condition.insert("StringEquals".to_owned(), Value::Object(equals));
        }
        if let Some(arn) = &self.source_arn {
            condition.insert("ArnLike".to_owned(), json!({ "AWS:SourceArn": arn }));
        }
        if let Some(is_via) = self.invoked_via_function_url {
            let value = json!({ "lambda:InvokedViaFunctionUrl": is_via.to_string() });
            condition.insert("Bool".to_owned(), value);
        }
        condition
    }
}

pub(super) async fn run(call: Call) -> Result<Response, ApiError> {
    let inner = call.inner();
    let place = inner.place();
    let input: Input = read_json(&call.request.body)?;
    let mut violations = Violations::default();
    let qualifier = call.request.query("Qualifier");
    let named = name::check(
        &mut violations,
        call.labels.get("FunctionName"),
        qualifier,
        Shape::Read,
        place,
    );
    input.check(&mut violations);
    violations.finish()?;
    let named = named?;
    if named.parsed_qualifier() == Ok(Some(Qualifier::Version(Version::Latest))) {
        return Err(error::invalid_parameter(
            "We currently do not support adding policies for $LATEST.",
        ));
    }
    if input.function_url_auth_type.is_some() && input.action.as_deref() != Some(INVOKE_URL) {
        return Err(error::invalid_parameter(
            "FunctionUrlAuthType is only supported for lambda:InvokeFunctionUrl action",
        ));
    }
    let Some(who) = principal(input.principal.as_deref().unwrap_or_default()) else {
        return Err(error::invalid_parameter(
            "The provided principal was invalid. Please check the principal and try again.",
        ));
    };
    let _turn = inner.turn(&named.name).await;
    let mut owner = Owner::find(&call, &named)
        .await?
        .ok_or_else(|| named.qualifier_not_found(place))?;
    if !owner.attached().policy.is_at(input.revision_id.as_deref()) {
        return Err(error::precondition_failed("GetPolicy"));
    }
    let statement = Statement {
        sid: input.statement_id.clone().unwrap_or_default(),
        effect: "Allow".to_owned(),
        principal: who,
        action: input.action.clone().unwrap_or_default(),
        resource: named.arn(place),
        condition: input.condition(),
    };
    add(&mut owner.attached_mut().policy, statement.clone())?;
    owner.write(&call).await?;
    let text = serde_json::to_string(&statement).unwrap_or_default();
    Ok(created(&json!({ "Statement": text })))
}

/// Adds a statement to a policy.
pub(super) fn add(policy: &mut Policy, statement: Statement) -> Result<(), ApiError> {
    if policy.has(&statement.sid) {
        return Err(error::conflict(format!(
            "The statement id ({}) provided already exists. Please provide a new statement id, or remove the existing \
             statement.",
            statement.sid
        )));
    }
    policy.add(statement);
    let bytes = policy.document().len();
    if bytes > POLICY_BYTES {
        return Err(ApiError::new(
            StatusCode::BAD_REQUEST,
            "PolicyLengthExceededException",
            format!("The final policy size ({bytes}) is bigger than the limit ({POLICY_BYTES})."),
        )
        .with("Type", "User"));
    }
    Ok(())
}

fn is_made_of(text: &str, is_part: impl Fn(u8) -> bool) -> bool {
    !text.is_empty() && text.bytes().all(is_part)
}

fn is_source_arn(text: &str) -> bool {
    let parts: Vec<&str> = text.splitn(6, ':').collect();
    let ["arn", partition, service, region, account, _] = parts.as_slice() else {
        return false;
    };
    partition
        .strip_prefix("aws")
        .is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'))
        && is_made_of(service, |b| b.is_ascii_alphanumeric() || b == b'-')
        && (region.is_empty() || name::is_region(region))
        && (account.is_empty() || name::is_account(account))
}
