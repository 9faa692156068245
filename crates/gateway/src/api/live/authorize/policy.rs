//! What a Lambda authorizer has answered.
//!
//! Source: <https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-lambda-authorizer.html>.

use serde::Deserialize;
use serde_json::{Map, Value};

/// The largest context that an authorizer may hand on, in bytes of JSON.
const CONTEXT_BYTES: usize = 64 * 1024;
/// The only action that there is to allow.
const ACTION: &str = "execute-api:Invoke";

/// An answer, read.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    decision: Decision,
    /// What it has to say of the caller.
    pub context: Map<String, Value>,
    /// The same as JSON.
    pub context_json: String,
}

#[derive(Clone, Debug, PartialEq)]
enum Decision {
    Simple(bool),
    Policy(Vec<Statement>),
}

#[derive(Clone, Debug, PartialEq)]
struct Statement {
    allows: bool,
    resources: Vec<String>,
}

/// Why an answer means nothing; the request is refused.
#[derive(Debug, thiserror::Error)]
pub enum VerdictError {
    /// It has another form.
    #[error("the authorizer's answer is not of its format")]
    Form(#[source] serde_json::Error),
    /// It has a part that could not be obeyed, so that to obey the rest would be wrong.
    #[error("the authorizer's policy has {0}, which is not understood")]
    Unknown(&'static str),
    /// The context is too large.
    #[error("the authorizer's context is larger than 65536 bytes")]
    Context,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Simple {
    is_authorized: bool,
    #[serde(default)]
    context: Option<Map<String, Value>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WithPolicy {
    principal_id: String,
    policy_document: Document,
    #[serde(default)]
    context: Option<Map<String, Value>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Document {
    statement: OneOrMany<RawStatement>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RawStatement {
    effect: Effect,
    action: Option<OneOrMany<String>>,
    resource: Option<OneOrMany<String>>,
    #[serde(default)]
    condition: Option<Map<String, Value>>,
}

#[derive(Deserialize, PartialEq, Eq)]
enum Effect {
    Allow,
    Deny,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany<T> {
    One(T),
    Many(Vec<T>),
}

impl<T> From<OneOrMany<T>> for Vec<T> {
    fn from(values: OneOrMany<T>) -> Self {
        match values {
            OneOrMany::One(value) => vec![value],
            OneOrMany::Many(values) => values,
        }
    }
}

impl Verdict {
    /// Reads `{"isAuthorized": …, "context": …}`.
    pub fn simple(answer: &[u8]) -> Result<Self, VerdictError> {
        let simple: Simple = serde_json::from_slice(answer).map_err(VerdictError::Form)?;
        Self::new(
            Decision::Simple(simple.is_authorized),
            simple.context.unwrap_or_default(),
        )
    }

    /// Reads `{"principalId": …, "policyDocument": …, "context": …}`; `names_principal` puts the principal into the context.
    pub fn policy(answer: &[u8], names_principal: bool) -> Result<Self, VerdictError> {
        let answer: WithPolicy = serde_json::from_slice(answer).map_err(VerdictError::Form)?;
        let statements = Vec::from(answer.policy_document.statement)
            .into_iter()
            .map(Statement::new);
        let statements = statements.filter_map(Result::transpose).collect::<Result<_, _>>()?;
        let mut context = answer.context.unwrap_or_default();
        if names_principal {
            context.insert("principalId".to_owned(), answer.principal_id.into());
        }
        Self::new(Decision::Policy(statements), context)
    }

    fn new(decision: Decision, context: Map<String, Value>) -> Result<Self, VerdictError> {
        let context_json = serde_json::to_string(&context).map_err(VerdictError::Form)?;
        if context_json.len() > CONTEXT_BYTES {
            return Err(VerdictError::Context);
        }
        Ok(Self {
            decision,
            context,
            context_json,
        })
    }

    /// Whether it lets a caller to a route; denial goes before permission, and what is not allowed is denied.
    pub fn allows(&self, route_arn: &str) -> bool {
        match &self.decision {
            Decision::Simple(is_authorized) => *is_authorized,
            Decision::Policy(statements) => {
                let matching = |statement: &&Statement| {
                    statement
                        .resources
                        .iter()
                        .any(|pattern| is_match(pattern.as_bytes(), route_arn.as_bytes()))
                };
                let mut found = statements.iter().filter(matching).peekable();
                found.peek().is_some() && found.all(|statement| statement.allows)
            }
        }
    }

    /// About how much memory it takes.
    pub fn bytes(&self) -> usize {
        let policy = match &self.decision {
            Decision::Simple(_) => 0,
            Decision::Policy(statements) => statements
                .iter()
                .flat_map(|statement| &statement.resources)
                .map(|text| text.len() + 64)
                .sum(),
        };
        policy + 4 * self.context_json.len() + 256
    }
}

impl Statement {
    /// `None`: it is about other actions.
    fn new(raw: RawStatement) -> Result<Option<Self>, VerdictError> {
        if raw.condition.is_some_and(|condition| !condition.is_empty()) {
            return Err(VerdictError::Unknown("a Condition"));
        }
        let actions: Vec<String> = raw.action.ok_or(VerdictError::Unknown("no Action"))?.into();
        let resources: Vec<String> = raw.resource.ok_or(VerdictError::Unknown("no Resource"))?.into();
        let invoke = ACTION.to_ascii_lowercase();
        let is_ours = |action: &String| is_match(action.to_ascii_lowercase().as_bytes(), invoke.as_bytes());
        let statement = Self {
            allows: raw.effect == Effect::Allow,
            resources,
        };
        Ok(actions.iter().any(is_ours).then_some(statement))
    }
}

/// Whether a text is what a pattern says: `*` is any text, `?` any one letter. Takes time by the product of their lengths at
/// most.
fn is_match(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut in_text) = (0, 0);
    let mut star = None;
    while in_text < text.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, in_text));
                at += 1;
            }
            Some(letter) if *letter == b'?' || *letter == text[in_text] => {
                at += 1;
                in_text += 1;
            }
            _ => {
                let Some((star_at, from)) = star else {
                    return false;
                };
                star = Some((star_at, from + 1));
                at = star_at + 1;
                in_text = from + 1;
            }
        }
    }
    pattern[at..].iter().all(|letter| *letter == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    const ARN: &str = "arn:aws:execute-api:us-east-1:000000000000:abc/$default/GET/pets/1";

    #[track_caller]
    fn check(statement: &Value, allows: bool) {
        let answer = json!({"principalId": "me", "policyDocument": {"Version": "2012-10-17", "Statement": statement}});
        let verdict = Verdict::policy(answer.to_string().as_bytes(), true).expect("a policy");
        assert_eq!(verdict.allows(ARN), allows, "{statement}");
        assert_eq!(verdict.context_json, r#"{"principalId":"me"}"#);
    }

    fn statement(effect: &str, action: &str, resource: &str) -> Value {
        json!({"Effect": effect, "Action": action, "Resource": resource})
    }

    #[test]
    fn policies_are_obeyed() {
        check(&statement("Allow", "execute-api:Invoke", ARN), true);
        check(
            &statement("Allow", "execute-api:*", "arn:aws:execute-api:*/GET/pets/*"),
            true,
        );
        check(&statement("Allow", "*", "*"), true);
        check(&statement("Allow", "EXECUTE-API:invoke", "*"), true);
        check(&statement("Allow", "s3:GetObject", "*"), false);
        check(&statement("Allow", "execute-api:Invoke", "*/POST/*"), false);
        check(&statement("Deny", "execute-api:Invoke", "*"), false);
        check(
            &json!([statement("Allow", "*", "*"), statement("Deny", "*", "*/pets/1")]),
            false,
        );
        check(
            &json!([statement("Allow", "*", "*"), statement("Deny", "*", "*/pets/2")]),
            true,
        );
        check(
            &json!([{"Effect": "Allow", "Action": ["a:b", "*"], "Resource": ["x", "*"]}]),
            true,
        );
        check(&json!([]), false);
    }

    #[test]
    fn simple_answers_are_obeyed() {
        let read = |answer: Value| Verdict::simple(answer.to_string().as_bytes());
        assert!(read(json!({"isAuthorized": true, "context": {"a": 1}})).is_ok_and(|verdict| verdict.allows(ARN)));
        assert!(read(json!({"isAuthorized": false})).is_ok_and(|verdict| !verdict.allows(ARN)));
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for answer in [
            json!(null),
            json!({}),
            json!({"isAuthorized": "true"}),
            json!({"isAuthorized": true, "context": "x"}),
            json!({"isAuthorized": true, "context": {"x": "y".repeat(70_000)}}),
        ] {
            assert!(Verdict::simple(answer.to_string().as_bytes()).is_err(), "{answer}");
        }
        let conditional = json!({"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": {"a": {"b": "c"}}});
        for statement in [
            conditional,
            json!({"Effect": "Allow", "NotAction": "x", "Resource": "*"}),
            json!({"Effect": "Allow", "Action": "*", "NotResource": "*"}),
            json!({"Effect": "allow", "Action": "*", "Resource": "*"}),
            json!("x"),
        ] {
            let answer = json!({"principalId": "me", "policyDocument": {"Statement": statement}});
            assert!(
                Verdict::policy(answer.to_string().as_bytes(), false).is_err(),
                "{answer}"
            );
        }
    }

    /// The meaning of a pattern, without regard to time.
    fn model(pattern: &[u8], text: &[u8]) -> bool {
        match (pattern.split_first(), text.split_first()) {
            (None, None) => true,
            (Some((b'*', rest)), _) => {
                model(rest, text) || text.split_first().is_some_and(|(_, text)| model(pattern, text))
            }
            (Some((letter, rest)), Some((first, text))) => (*letter == b'?' || letter == first) && model(rest, text),
            _ => false,
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]
        #[test]
        fn patterns_mean_what_they_say(pattern in "[ab*?]{0,8}", text in "[ab]{0,8}") {
            prop_assert_eq!(is_match(pattern.as_bytes(), text.as_bytes()), model(pattern.as_bytes(), text.as_bytes()));
        }

        #[test]
        fn no_answer_makes_it_panic(answer in "[\\[{}\\]\":,a-zA-Z0-9*]{0,60}") {
            let _simple = Verdict::simple(answer.as_bytes());
            let _policy = Verdict::policy(answer.as_bytes(), true);
        }
    }
}
