//! One order, from its placing to its certificate.

use std::time::Duration;

use instant_acme::{Account, AuthorizationStatus, ChallengeType, Identifier, NewOrder, OrderStatus, RetryPolicy};

use super::{AcmeError, Pending};

/// How long the server may take to look for the proof, and then to issue.
const POLL: RetryPolicy = RetryPolicy::new()
    .initial_delay(Duration::from_millis(500))
    .timeout(Duration::from_secs(120));

/// A proof, for as long as it is looked for.
struct Shown<'a> {
    pending: &'a Pending,
    token: String,
}

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        self.pending.0.lock().remove(&self.token);
    }
}

/// The private key and the chain for a name, in PEM.
pub(super) async fn certificate(account: &Account, name: &str, pending: &Pending) -> Result<String, AcmeError> {
    let identifiers = [Identifier::Dns(name.to_owned())];
    let mut order = account.new_order(&NewOrder::new(&identifiers)).await?;
    let mut shown = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization?;
        if authorization.status != AuthorizationStatus::Pending {
            continue;
        }
        let mut challenge = authorization
            .challenge(ChallengeType::Http01)
            .ok_or(AcmeError::NoChallenge)?;
        let token = challenge.token.clone();
        let proof = challenge.key_authorization().as_str().to_owned();
        pending.0.lock().insert(token.clone(), proof);
        shown.push(Shown { pending, token });
        challenge.set_ready().await?;
    }
    if order.poll_ready(&POLL).await? != OrderStatus::Ready {
        return Err(AcmeError::NotProven(name.to_owned()));
    }
    drop(shown);
    let key = rcgen::KeyPair::generate().map_err(AcmeError::Request)?;
    let mut params = rcgen::CertificateParams::new(vec![name.to_owned()]).map_err(AcmeError::Request)?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    let request = params.serialize_request(&key).map_err(AcmeError::Request)?;
    order.finalize_csr(request.der()).await?;
    let chain = order.poll_certificate(&POLL).await?;
    Ok(format!("{}{chain}", key.serialize_pem()))
}
