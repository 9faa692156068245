//! Deployments that are to stay as they are, in pieces that the table takes.

use std::sync::Arc;

use bytes::Bytes;
use ephyra_store::StoreError;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{ApiStore, encode, key};
use crate::api::model::{Authorizer, Content, Cors, Deployment, Integration, Route};

/// How large a piece becomes before the next one is begun, in bytes: with one more document it is below a value's limit.
const PIECE_BYTES: usize = 512 * 1024;

/// A deployment's record.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct DeploymentRecord {
    /// The deployment.
    pub(crate) deployment: Deployment,
    /// What is in no piece. `None`: it is not frozen but the API as it stands.
    pub(super) frozen: Option<FrozenHead>,
}

impl DeploymentRecord {
    /// A deployment that is the API as it stands. It has no record of its own: see [`super::held::StageRecord`].
    pub(crate) const fn automatic(deployment: Deployment) -> Self {
        Self {
            deployment,
            frozen: None,
        }
    }

    /// Whether it stays as it is.
    pub(crate) const fn is_frozen(&self) -> bool {
        self.frozen.is_some()
    }
}

/// What a deployment froze of the API itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FrozenHead {
    cors: Option<Cors>,
    is_endpoint_disabled: bool,
}

/// A piece to write: documents that are JSON already.
#[derive(Default, Serialize)]
struct PieceToWrite {
    routes: Vec<Box<RawValue>>,
    integrations: Vec<Box<RawValue>>,
    authorizers: Vec<Box<RawValue>>,
}

/// A piece that was read.
#[derive(Deserialize)]
struct Piece {
    routes: Vec<Route>,
    integrations: Vec<Integration>,
    authorizers: Vec<Authorizer>,
}

/// Writes the pieces of a deployment, and gives what its record has to hold.
pub(super) async fn write(
    store: &ApiStore,
    api_id: &str,
    deployment_id: &str,
    content: &Content,
) -> Result<FrozenHead, StoreError> {
    // Of an attempt that failed half way.
    store.clear(&key::pieces(api_id, deployment_id)).await?;
    let mut pieces: Vec<(String, Bytes)> = Vec::new();
    let mut piece = PieceToWrite::default();
    let mut bytes = 0;
    let corrupt = |error| super::corrupt(deployment_id, error);
    let documents = content
        .routes
        .iter()
        .map(|route| (0, serde_json::value::to_raw_value(route.as_ref())))
        .chain(
            content
                .integrations
                .values()
                .map(|one| (1, serde_json::value::to_raw_value(one.as_ref()))),
        )
        .chain(
            content
                .authorizers
                .values()
                .map(|one| (2, serde_json::value::to_raw_value(one.as_ref()))),
        );
    for (kind, document) in documents {
        let document = document.map_err(corrupt)?;
        bytes += document.get().len();
        match kind {
            0 => piece.routes.push(document),
            1 => piece.integrations.push(document),
            _ => piece.authorizers.push(document),
        }
        if bytes >= PIECE_BYTES {
            let key = key::piece(api_id, deployment_id, pieces.len());
            let value = encode(&key, &std::mem::take(&mut piece))?;
            pieces.push((key, value));
            bytes = 0;
        }
    }
    let key = key::piece(api_id, deployment_id, pieces.len());
    let value = encode(&key, &piece)?;
    pieces.push((key, value));
    store.write_all(pieces).await?;
    Ok(FrozenHead {
        cors: content.cors.clone(),
        is_endpoint_disabled: content.is_endpoint_disabled,
    })
}

/// Reads what a deployment froze.
pub(super) async fn read(
    store: &ApiStore,
    api_id: &str,
    deployment_id: &str,
    head: &FrozenHead,
) -> Result<Content, StoreError> {
    let mut content = Content {
        cors: head.cors.clone(),
        is_endpoint_disabled: head.is_endpoint_disabled,
        ..Content::default()
    };
    for piece in store.read_all::<Piece>(&key::pieces(api_id, deployment_id)).await? {
        content.routes.extend(piece.routes.into_iter().map(Arc::new));
        let integrations = piece.integrations.into_iter();
        content
            .integrations
            .extend(integrations.map(|one| (one.integration_id.clone(), Arc::new(one))));
        let authorizers = piece.authorizers.into_iter();
        content
            .authorizers
            .extend(authorizers.map(|one| (one.authorizer_id.clone(), Arc::new(one))));
    }
    Ok(content)
}
