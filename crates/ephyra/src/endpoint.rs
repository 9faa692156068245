//! How the command line reaches the platform: address, credentials, signed requests.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use ephyra_tls::folder::{AUTHORITY, Folder};
use ephyra_wire::client::{Client, ClientError, Endpoint, Outgoing};
use ephyra_wire::sigv4::Signer;
use ephyra_wire::trust::client_config;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use rustls::ClientConfig;
use serde_json::Value;

use crate::cli::Target;
use crate::serve::credentials::Root;

const DEFAULT_ENDPOINT: &str = "http://127.0.0.1:4566";

pub(crate) use ephyra_wire::client::encode_segment as label;

/// A running platform and the right to use it.
pub(crate) struct Platform {
    endpoint: Endpoint,
    /// Lambda's operations.
    pub(crate) lambda: Remote,
    /// API Gateway's.
    pub(crate) gateway: Remote,
    own: Client,
}

/// One of the platform's services.
pub(crate) struct Remote {
    client: Client,
}

/// An answer with a good status.
pub(crate) struct Answer {
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    /// A header's text; empty when it is not there.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }

    fn json(&self) -> anyhow::Result<Value> {
        if self.body.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&self.body).context("the platform's answer is not JSON")
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The largest answer that is read: a little more than Lambda's largest.
const ANSWER_BYTES: usize = 64 * 1024 * 1024;
/// Longer than the longest function may run.
const TIME_LIMIT: Duration = Duration::from_secs(960);

/// An answer whose status says that it did not work.
#[derive(Debug, thiserror::Error)]
#[error("{code}: {message}")]
pub(crate) struct Failure {
    pub(crate) status: StatusCode,
    code: String,
    message: String,
}

/// Whom to believe: those that the machine trusts, those of `AWS_CA_BUNDLE`, and the local authority of this machine's own
/// platform.
fn trust(target: &Target) -> anyhow::Result<Arc<ClientConfig>> {
    let mut more = Vec::new();
    if let Some(file) = variable("AWS_CA_BUNDLE") {
        more = std::fs::read(&file).with_context(|| format!("AWS_CA_BUNDLE names {file}, which cannot be read"))?;
        more.push(b'\n');
    }
    // Not there, or not for everybody to read: then it is not trusted.
    more.extend(std::fs::read(Folder::of(&target.data).file(AUTHORITY)).unwrap_or_default());
    client_config(&more).context("it is not clear whom to trust")
}

impl Platform {
    /// The platform that the options and the environment name, with the credentials that they give.
    pub(crate) fn find(target: &Target) -> anyhow::Result<Self> {
        let endpoint = target
            .endpoint
            .clone()
            .or_else(|| variable("AWS_ENDPOINT_URL_LAMBDA"))
            .or_else(|| variable("AWS_ENDPOINT_URL"))
            .unwrap_or_else(|| DEFAULT_ENDPOINT.to_owned());
        let endpoint: Endpoint = endpoint.parse()?;
        let region = target
            .region
            .clone()
            .or_else(|| variable("AWS_REGION"))
            .or_else(|| variable("AWS_DEFAULT_REGION"))
            .unwrap_or_else(|| "us-east-1".to_owned());
        let (root, token) = credentials(target)?;
        let tls = endpoint.is_tls().then(|| trust(target)).transpose()?;
        let client = |service: &str| {
            let mut signer = Signer::new(&root.access_key_id, &root.secret_access_key, &region, service);
            signer.session_token.clone_from(&token);
            let client = Client::new(endpoint.clone(), Some(signer), TIME_LIMIT);
            match &tls {
                Some(tls) => client.with_tls(tls.clone()),
                None => client,
            }
        };
        Ok(Self {
            endpoint: endpoint.clone(),
            lambda: Remote {
                client: client("lambda"),
            },
            gateway: Remote {
                client: client("apigateway"),
            },
            own: client("ephyra"),
        })
    }

    /// Its address.
    pub(crate) const fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Reads a document of our own service.
    pub(crate) async fn get_own(&self, path: &str) -> anyhow::Result<Value> {
        let outgoing = Outgoing::new(Method::GET, path);
        let answer = self.own.send(outgoing).await.map_err(unreachable_platform)?;
        whole(answer).await??.json()
    }

    /// Reads an answer of our own service part by part, as it comes.
    pub(crate) async fn stream_own(
        &self,
        path: &str,
        query: &[(&str, String)],
    ) -> anyhow::Result<ephyra_wire::client::Answer> {
        let outgoing = query
            .iter()
            .fold(Outgoing::new(Method::GET, path), |outgoing, (name, value)| {
                outgoing.query(name, value)
            });
        let answer = self.own.send(outgoing).await.map_err(unreachable_platform)?;
        if answer.status.is_success() {
            return Ok(answer);
        }
        match whole(answer).await? {
            Ok(_) => bail!("the platform changed its mind about its answer"),
            Err(failure) => Err(failure.into()),
        }
    }

    /// The account that the platform answers for.
    pub(crate) async fn account(&self) -> anyhow::Result<String> {
        let document = self.get_own("/_ephyra/runtimes").await?;
        document["account"]
            .as_str()
            .map(str::to_owned)
            .context("the platform does not say its account: is it an older one?")
    }
}

impl Remote {
    /// Calls an operation; an answer that is an error is an error.
    pub(crate) async fn call(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, String)],
        headers: &[(&'static str, &str)],
        body: Bytes,
    ) -> anyhow::Result<Answer> {
        Ok(self.try_call(method, path, query, headers, body).await??)
    }

    /// Calls an operation; tells an error of the platform from one of the connection.
    pub(crate) async fn try_call(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, String)],
        headers: &[(&'static str, &str)],
        body: Bytes,
    ) -> anyhow::Result<Result<Answer, Failure>> {
        let mut outgoing = query
            .iter()
            .fold(Outgoing::new(method, path), |outgoing, (name, value)| {
                outgoing.query(name, value)
            });
        for (name, value) in headers {
            outgoing = outgoing.header(name, HeaderValue::from_str(value)?);
        }
        let answer = self
            .client
            .send(outgoing.body(body))
            .await
            .map_err(unreachable_platform)?;
        whole(answer).await
    }

    pub(crate) async fn get(&self, path: &str, query: &[(&str, String)]) -> anyhow::Result<Value> {
        self.call(Method::GET, path, query, &[], Bytes::new()).await?.json()
    }

    /// Reads a document that may not be there.
    pub(crate) async fn find_document(&self, path: &str, query: &[(&str, String)]) -> anyhow::Result<Option<Value>> {
        match self.try_call(Method::GET, path, query, &[], Bytes::new()).await? {
            Ok(answer) => answer.json().map(Some),
            Err(failure) if failure.status == StatusCode::NOT_FOUND => Ok(None),
            Err(failure) => Err(failure.into()),
        }
    }

    pub(crate) async fn post(&self, path: &str, document: &Value) -> anyhow::Result<Value> {
        let body = document.to_string().into();
        self.call(Method::POST, path, &[], &[], body).await?.json()
    }

    pub(crate) async fn put(&self, path: &str, document: &Value) -> anyhow::Result<Value> {
        let body = document.to_string().into();
        self.call(Method::PUT, path, &[], &[], body).await?.json()
    }

    pub(crate) async fn patch(&self, path: &str, document: &Value) -> anyhow::Result<Value> {
        let body = document.to_string().into();
        self.call(Method::PATCH, path, &[], &[], body).await?.json()
    }

    /// Deletes what may be gone already.
    pub(crate) async fn delete_if_there(&self, path: &str) -> anyhow::Result<()> {
        match self.try_call(Method::DELETE, path, &[], &[], Bytes::new()).await? {
            Err(failure) if failure.status != StatusCode::NOT_FOUND => Err(failure.into()),
            _ => Ok(()),
        }
    }

    pub(crate) async fn delete(&self, path: &str) -> anyhow::Result<()> {
        self.call(Method::DELETE, path, &[], &[], Bytes::new()).await?;
        Ok(())
    }
}

fn credentials(target: &Target) -> anyhow::Result<(Root, Option<String>)> {
    if let Some(root) = Root::from_environment()? {
        return Ok((root, None));
    }
    if let (Some(access_key_id), Some(secret_access_key)) =
        (variable("AWS_ACCESS_KEY_ID"), variable("AWS_SECRET_ACCESS_KEY"))
    {
        let root = Root {
            access_key_id,
            secret_access_key,
        };
        return Ok((root, variable("AWS_SESSION_TOKEN")));
    }
    let root = Root::read(&target.data).context(
        "no credentials: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not set; \
         take them from the platform with: eval \"$(sudo ephyra credentials --export)\"",
    )?;
    Ok((root, None))
}

fn unreachable_platform(error: ClientError) -> anyhow::Error {
    let hint = match &error {
        ClientError::Connect { .. } => Some("is `ephyra serve` running there? --endpoint names another address"),
        _ => None,
    };
    match hint {
        Some(hint) => anyhow::Error::new(error).context(hint),
        None => error.into(),
    }
}

async fn whole(answer: ephyra_wire::client::Answer) -> anyhow::Result<Result<Answer, Failure>> {
    let whole = answer.whole(ANSWER_BYTES).await?;
    if whole.status.is_success() {
        return Ok(Ok(Answer {
            headers: whole.headers,
            body: whole.body,
        }));
    }
    let document: Value = serde_json::from_slice(&whole.body).unwrap_or_default();
    let message = [&document["message"], &document["Message"]]
        .into_iter()
        .find_map(Value::as_str);
    let code = whole
        .headers
        .get("x-amzn-errortype")
        .and_then(|code| code.to_str().ok());
    Ok(Err(Failure {
        status: whole.status,
        code: code
            .and_then(|code| code.split(':').next())
            .unwrap_or("Error")
            .to_owned(),
        message: message.map_or_else(|| format!("the platform answered {}", whole.status), str::to_owned),
    }))
}
