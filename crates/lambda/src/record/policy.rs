//! Resource policies: who else may do what with a function, version, alias or layer version.

use ephyra_core::id::RequestId;
use ephyra_core::url::UrlAuth;
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

    /// Whether everybody may call the function's URL, which has this `AuthType`.
    pub(crate) fn opens_url(&self, auth: UrlAuth) -> bool {
        let concerned = || self.statements.iter().filter(|statement| statement.is_of_urls());
        concerned().all(|statement| statement.effect == "Allow")
            && concerned().any(|statement| statement.is_for_everybody() && statement.holds_for_url(auth))
    }

    /// The document, as text.
    pub(crate) fn document(&self) -> String {
        json!({ "Version": "2012-10-17", "Id": "default", "Statement": self.statements }).to_string()
    }
}

impl Statement {
    fn is_of_urls(&self) -> bool {
        matches!(self.action.as_str(), "*" | "lambda:*" | "lambda:InvokeFunctionUrl")
    }

    fn is_for_everybody(&self) -> bool {
        self.principal == "*" || self.principal == json!({ "AWS": "*" })
    }

    /// Whether a request on a URL meets the conditions, of which those are known that are about URLs: any other is
    /// about who calls, and nobody has said who they are.
    fn holds_for_url(&self, auth: UrlAuth) -> bool {
        self.condition.iter().all(|(operator, keys)| {
            keys.as_object().is_some_and(|keys| {
                keys.iter().all(|(key, value)| match (operator.as_str(), key.as_str()) {
                    ("StringEquals", "lambda:FunctionUrlAuthType") => value == auth.as_str(),
                    ("Bool", "lambda:InvokedViaFunctionUrl") => value == "true",
                    _ => false,
                })
            })
        })
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

    #[track_caller]
    fn check_opens(statements: &[(&str, &str, &str, Value)], want: bool) {
        let mut policy = Policy::default();
        for (effect, who, action, condition) in statements {
            policy.add(Statement {
                sid: "s".to_owned(),
                effect: (*effect).to_owned(),
                principal: principal(who).unwrap(),
                action: (*action).to_owned(),
                resource: "arn".to_owned(),
                condition: condition.as_object().cloned().unwrap(),
            });
        }
        assert_eq!(policy.opens_url(UrlAuth::None), want, "{statements:?}");
    }

    #[test]
    fn a_url_is_open_to_everybody_or_not() {
        let none = json!({ "StringEquals": { "lambda:FunctionUrlAuthType": "NONE" } });
        let iam = json!({ "StringEquals": { "lambda:FunctionUrlAuthType": "AWS_IAM" } });
        let url = "lambda:InvokeFunctionUrl";
        check_opens(&[], false);
        check_opens(&[("Allow", "*", url, none.clone())], true);
        check_opens(&[("Allow", "*", url, json!({}))], true);
        check_opens(&[("Allow", "*", "lambda:*", json!({}))], true);
        let via = |is: &str| json!({ "Bool": { "lambda:InvokedViaFunctionUrl": is } });
        check_opens(&[("Allow", "*", "lambda:*", via("true"))], true);
        check_opens(&[("Allow", "*", "lambda:*", via("false"))], false);
        check_opens(&[("Allow", "*", url, iam)], false);
        check_opens(&[("Allow", "111111111111", url, none.clone())], false);
        check_opens(&[("Allow", "*", "lambda:InvokeFunction", json!({}))], false);
        // Of these a request without a signature says nothing.
        let mut more = none.clone();
        more["StringEquals"]["aws:PrincipalOrgID"] = json!("o-1234567890");
        check_opens(&[("Allow", "*", url, more)], false);
        let source = json!({ "ArnLike": { "AWS:SourceArn": "arn:aws:s3:::b" } });
        check_opens(&[("Allow", "*", url, source)], false);
        check_opens(&[("Allow", "*", url, json!({ "StringEquals": 1 }))], false);
        // A second statement opens what the first does not; one that denies closes all.
        check_opens(
            &[
                ("Allow", "111111111111", url, json!({})),
                ("Allow", "*", url, none.clone()),
            ],
            true,
        );
        check_opens(
            &[("Allow", "*", url, none), ("Deny", "111111111111", url, json!({}))],
            false,
        );
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
