//! Resource policies: who else may do what with a function, version, alias or layer version.

use ephyra_core::id::RequestId;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// The largest policy document, in bytes.
pub(crate) const POLICY_BYTES: usize = 20_480;

/// One statement, as AWS shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Statement {
    pub sid: String,
    pub effect: String,
    pub principal: Value,
    pub action: String,
    pub resource: String,
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub condition: Map<String, Value>,
}

/// The statements in the order added.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Policy {
    statements: Vec<Statement>,
    /// The policy's own `RevisionId`; absent before the first statement.
    revision_id: Option<RequestId>,
}

impl Policy {
    pub(crate) fn is_empty(&self) -> bool {
        self.statements.is_empty()
    }

    pub(crate) const fn revision_id(&self) -> Option<RequestId> {
        self.revision_id
    }

    /// Whether a caller who has seen `wanted` has seen this policy; one who names nothing has.
    pub(crate) fn is_at(&self, wanted: Option<&str>) -> bool {
        wanted.is_none_or(|wanted| self.revision_id.is_some_and(|current| current.to_string() == wanted))
    }

    pub(crate) fn has(&self, sid: &str) -> bool {
        self.statements.iter().any(|statement| statement.sid == sid)
    }

    /// Adds a statement.
    pub(crate) fn add(&mut self, statement: Statement) {
        self.statements.push(statement);
        self.revision_id = Some(RequestId::new());
    }

    /// Removes a statement; `false` when there was none.
    pub(crate) fn remove(&mut self, sid: &str) -> bool {
        let before = self.statements.len();
        self.statements.retain(|statement| statement.sid != sid);
        self.revision_id = Some(RequestId::new());
        self.statements.len() < before
    }

    /// The document, as text.
    pub(crate) fn document(&self) -> String {
        json!({ "Version": "2012-10-17", "Id": "default", "Statement": self.statements }).to_string()
    }
}

/// The principal of a statement, `None` when the text names none.
pub(crate) fn principal(text: &str) -> Option<Value> {
    let is_account = |text: &str| text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit());
    if text == "*" {
        return Some(json!("*"));
    }
    if is_account(text) {
        return Some(json!({ "AWS": format!("arn:aws:iam::{text}:root") }));
    }
    if text.starts_with("arn:") {
        let parts: Vec<&str> = text.splitn(6, ':').collect();
        let names_somebody = matches!(parts.as_slice(), [_, partition, "iam" | "sts", _, account, who]
            if partition.starts_with("aws") && is_account(account) && !who.is_empty());
        return names_somebody.then(|| json!({ "AWS": text }));
    }
    let is_service = ["amazonaws.com", "amazonaws.com.cn", "amazon.com"]
        .iter()
        .any(|domain| {
            text.strip_suffix(domain)
                .and_then(|rest| rest.strip_suffix('.'))
                .is_some_and(|rest| {
                    !rest.is_empty()
                        && rest
                            .bytes()
                            .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.')
                })
        });
    is_service.then(|| json!({ "Service": text }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn principals_are_accounts_arns_services_or_all() {
        assert_eq!(principal("*"), Some(json!("*")));
        assert_eq!(
            principal("111111111111"),
            Some(json!({ "AWS": "arn:aws:iam::111111111111:root" }))
        );
        assert_eq!(
            principal("s3.amazonaws.com"),
            Some(json!({ "Service": "s3.amazonaws.com" }))
        );
        let user = "arn:aws:iam::111111111111:user/u";
        assert_eq!(principal(user), Some(json!({ "AWS": user })));
        for text in [
            "",
            "invalid.nonaws.com",
            "amazonaws.com",
            ".amazonaws.com",
            "arn:aws:s3:::bucket",
        ] {
            assert_eq!(principal(text), None, "{text}");
        }
    }

    #[test]
    fn a_removed_statement_is_gone() {
        let statement = Statement {
            sid: "s".to_owned(),
            effect: "Allow".to_owned(),
            principal: json!("*"),
            action: "lambda:InvokeFunction".to_owned(),
            resource: "arn".to_owned(),
            condition: Map::new(),
        };
        let mut policy = Policy::default();
        policy.add(statement);
        assert!(policy.has("s"));
        assert!(!policy.remove("t"));
        let seen = policy.revision_id().map(|id| id.to_string());
        assert!(policy.is_at(seen.as_deref()) && policy.is_at(None) && !policy.is_at(Some("wrong")));
        assert!(policy.remove("s"));
        assert!(policy.is_empty() && !policy.is_at(seen.as_deref()));
    }
}
