//! The authorizer's part of a request's way.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use ephyra_wire::service::Caller;
use http::request;

use super::authorize::iam::Iam;
use super::authorize::lambda::{self, Denial, Question};
use super::authorize::policy::Verdict;
use super::event::{self, Surroundings};
use super::expression::Sources;
use super::integrate::function::Functions;
use super::jwt::{Refusal, Verified};
use super::moment::Moment;
use super::record::Identity;
use super::reply::Failure;
use super::stage::{End, Guard};
use crate::event::{Authorizer, Iam as Signer};
use crate::request::HttpRequest;

/// Who was let in.
#[derive(Debug)]
pub enum Entry<'a> {
    /// Nobody asked who it is.
    Open,
    /// Who has signed.
    Signed(Caller, String),
    /// Who had a token, and the scopes of the route.
    Token(Arc<Verified>, &'a [String]),
    /// Whom a function let in.
    Said(Arc<Verdict>),
}

impl Entry<'_> {
    /// For the record.
    pub fn identity(&self) -> Identity<'_> {
        match self {
            Self::Open => Identity::Unknown,
            Self::Signed(caller, arn) => Identity::Signed(signer(caller, arn)),
            Self::Token(verified, _) => Identity::Claims(&verified.claims),
            Self::Said(verdict) => Identity::Said(&verdict.context),
        }
    }

    /// For the event.
    pub fn authorizer(&self) -> Option<Authorizer<'_>> {
        Some(match self {
            Self::Open => return None,
            Self::Signed(caller, arn) => Authorizer::Iam(signer(caller, arn)),
            Self::Token(verified, scopes) => {
                let scopes = (!scopes.is_empty()).then_some(*scopes);
                Authorizer::Jwt {
                    claims: &verified.claims_json,
                    scopes,
                }
            }
            Self::Said(verdict) => Authorizer::Lambda(&verdict.context_json),
        })
    }

    /// Whether the client has signed for us.
    pub fn is_signed(&self) -> bool {
        matches!(self, Self::Signed(..))
    }
}

fn signer<'a>(caller: &'a Caller, arn: &'a str) -> Signer<'a> {
    let account_id = caller.account.as_str();
    Signer {
        access_key: &caller.access_key,
        account_id,
        user_arn: arn,
        user_id: account_id,
    }
}

/// Why somebody was not let in: what the client is told, and what the operator is.
#[derive(Debug)]
pub struct Denied {
    /// For the client.
    pub failure: Failure,
    /// For the operator.
    pub reason: Cow<'static, str>,
}

impl Denied {
    fn new(failure: Failure, reason: impl Into<Cow<'static, str>>) -> Self {
        Self {
            failure,
            reason: reason.into(),
        }
    }
}

/// What guards need besides the request.
pub struct Gate<'a> {
    /// Verifies signatures.
    pub iam: &'a Iam,
    /// Runs authorizers.
    pub functions: &'a Functions,
    /// The request as it was sent.
    pub head: &'a request::Parts,
    /// Its body.
    pub body: &'a Bytes,
    /// What events say of it.
    pub surroundings: Surroundings<'a>,
    /// The route's ARN.
    pub route_arn: &'a (dyn Fn() -> String + Sync),
    /// Now.
    pub now: Moment,
}

impl Gate<'_> {
    /// Whether a route lets a request in.
    pub async fn pass<'a>(&self, end: &'a End, sources: &Sources<'_>) -> Result<Entry<'a>, Denied> {
        match &end.guard {
            Guard::Open => Ok(Entry::Open),
            Guard::Nobody(why) => Err(Denied::new(Failure::Internal, why.clone())),
            Guard::Iam => match self.iam.verify(self.head, self.body, self.now.unix_ms) {
                Ok(caller) => {
                    let arn = format!("arn:aws:iam::{}:root", caller.account);
                    Ok(Entry::Signed(caller, arn))
                }
                Err(error) => Err(Denied::new(Failure::Forbidden, error.to_string())),
            },
            Guard::Jwt {
                authorizer,
                source,
                scopes,
            } => {
                let credentials = source.value(sources).filter(|value| !value.is_empty());
                let verified = match credentials {
                    None => Err(Refusal::Missing),
                    Some(credentials) => authorizer.verify(&credentials, self.now).await,
                };
                let verified = verified.map_err(|why| Denied::new(Failure::BadToken(why), why.to_string()))?;
                if !verified.allows(scopes) {
                    return Err(Denied::new(
                        Failure::MissingScope,
                        "the token does not allow one of the route's scopes",
                    ));
                }
                Ok(Entry::Token(verified, scopes))
            }
            Guard::Lambda(authorizer) => self.ask(authorizer, end, sources).await.map(Entry::Said),
        }
    }

    async fn ask(
        &self,
        authorizer: &lambda::Authorizer,
        end: &End,
        sources: &Sources<'_>,
    ) -> Result<Arc<Verdict>, Denied> {
        let denied = |denial: Denial| match &denial {
            Denial::Missing => Denied::new(Failure::Unauthorized, denial.to_string()),
            Denial::Call(error) => Denied::new(Failure::Internal, format!("{denial}: {error}")),
            Denial::Verdict(error) => Denied::new(Failure::Internal, format!("{denial}: {error}")),
        };
        let identity = authorizer.identity(sources).map_err(denied)?;
        let route_arn = (self.route_arn)();
        let verdict = match authorizer.remembered(&identity, self.now.at) {
            Some(verdict) => verdict,
            None => {
                let nothing = Bytes::new();
                let request = HttpRequest {
                    body: &nothing,
                    ..sources.record.request
                };
                let event = event::of(authorizer.format(), &request, end, &self.surroundings, None);
                let trace_id = self.surroundings.trace_id;
                let question = Question {
                    event,
                    route_arn: &route_arn,
                    trace_id,
                };
                let asked = authorizer.ask(self.functions, &identity, question, self.now.at).await;
                asked.map_err(denied)?
            }
        };
        if verdict.allows(&route_arn) {
            Ok(verdict)
        } else {
            Err(Denied::new(
                Failure::Forbidden,
                "the authorizer does not let the caller in",
            ))
        }
    }
}
