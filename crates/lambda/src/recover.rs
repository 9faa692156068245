//! The start: completes or removes what an interrupted run has left, and counts what is there.
//!
//! Operations write a version before the function that counts it, and delete a function before what belongs to it.
//! So whatever a crash leaves is one of these: a version that its function does not count yet (the function is made
//! to count it), something whose function is gone (it is removed), a function URL's id that leads to nothing (likewise), a change under way (it is ended), or packages that
//! no record names (they are removed).

use std::collections::HashMap;

use ephyra_core::digest::Digest;
use ephyra_core::id::{AliasName, FunctionName, Version};
use ephyra_store::StoreError;

use crate::lambda::Lambda;
use crate::ledger::{LayerPlace, Stored};
use crate::package::DepotError;
use crate::record::{FunctionRecord, Provisioned, State, UrlPlace, VersionRecord};

/// How many records are read at once.
const PAGE: usize = 256;

/// Why the service could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// The records could not be read or repaired.
    #[error("the functions' records could not be read or repaired")]
    Store(#[from] StoreError),
    /// The packages could not be read or repaired.
    #[error("the functions' packages could not be read or repaired")]
    Package(#[source] PackageError),
}

/// A failure of the folder of packages; opaque, for its chain of causes.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct PackageError(#[from] DepotError);

impl From<DepotError> for RecoverError {
    fn from(error: DepotError) -> Self {
        Self::Package(PackageError(error))
    }
}

impl Lambda {
    /// Repairs and counts. To be called once, before any request.
    pub(crate) async fn recover(&self) -> Result<(), RecoverError> {
        let mut packages = Packages::new();
        let mut functions = self.read_functions(&mut packages).await?;
        let unsettled = self.recover_versions(&mut functions, &mut packages).await?;
        self.recover_aliases(&mut functions).await?;
        self.recover_urls(&functions).await?;
        self.count_layers(&mut packages).await?;
        self.inner.depot.sweep().await?;
        self.restore(packages).await?;
        for name in unsettled {
            self.settle(&name).await?;
        }
        for (name, known) in functions {
            for version in known.awaiting {
                self.make_template_later(&name, version);
            }
        }
        Ok(())
    }

    /// Reads all functions and counts them.
    async fn read_functions(&self, packages: &mut Packages) -> Result<HashMap<FunctionName, Known>, RecoverError> {
        let inner = &self.inner;
        let mut functions = HashMap::new();
        let mut after: Option<String> = None;
        loop {
            let page = inner.ledger.functions(after.as_deref(), PAGE).await?;
            let Some(last) = page.last() else {
                return Ok(functions);
            };
            after = Some(last.record.name.to_string());
            for stored in page {
                let record = &stored.record;
                inner.totals.add_function();
                inner.totals.set_reserved(&record.name, record.reserved);
                if record.reserved.is_some() {
                    inner.deps.steer.set_reserved(&record.name, record.reserved);
                }
                self.count_version(&record.latest, packages);
                functions.insert(record.name.clone(), Known::of(record));
            }
        }
    }

    /// Removes versions without a function, counts the others; returns the functions with something under way.
    async fn recover_versions(
        &self,
        functions: &mut HashMap<FunctionName, Known>,
        packages: &mut Packages,
    ) -> Result<Vec<FunctionName>, RecoverError> {
        let inner = &self.inner;
        for (name, stored) in inner.ledger.every_version().await? {
            let version = stored.record;
            let Version::Number(number) = version.version else {
                continue;
            };
            let Some(known) = functions.get_mut(&name) else {
                inner.ledger.delete_version(&name, number).await?;
                continue;
            };
            known.is_unsettled |= version.is_unsettled() && !version.awaits_template();
            if version.awaits_template() {
                known.awaiting.push(version.version);
            } else if version.has_template() && version.state == State::Active {
                self.keep_template(&name, &version);
            }
            self.count_version(&version, packages);
            if number > known.last_version {
                known.last_version = number;
                if let Some(mut function) = inner.ledger.function(&name).await? {
                    function.record.last_version = number;
                    inner.ledger.update_function(&function).await?;
                }
            }
            self.recover_provisioned(&name, &number.to_string(), &version, version.attached.provisioned);
        }
        let unsettled = functions.iter().filter(|(_, known)| known.is_unsettled);
        Ok(unsettled.map(|(name, _)| name.clone()).collect())
    }

    async fn recover_aliases(&self, functions: &mut HashMap<FunctionName, Known>) -> Result<(), RecoverError> {
        let inner = &self.inner;
        for (name, stored) in inner.ledger.every_alias().await? {
            let alias = stored.record;
            let Some(known) = functions.get_mut(&name) else {
                inner.ledger.delete_alias(&name, &alias.name).await?;
                continue;
            };
            if let Some(url) = &alias.attached.url {
                known.urls.push((url.id.clone(), Some(alias.name.clone())));
            }
            if alias.attached.provisioned.is_some()
                && let Version::Number(number) = alias.version
                && let Some(version) = inner.ledger.version(&name, number).await?
            {
                let provisioned = alias.attached.provisioned;
                self.recover_provisioned(&name, alias.name.as_str(), &version.record, provisioned);
            }
        }
        Ok(())
    }

    /// Makes the ids of function URLs lead to who has them, and no others lead anywhere.
    async fn recover_urls(&self, functions: &HashMap<FunctionName, Known>) -> Result<(), RecoverError> {
        let inner = &self.inner;
        let mut missing: HashMap<&str, UrlPlace> = HashMap::new();
        for (name, known) in functions {
            for (id, alias) in &known.urls {
                let place = UrlPlace {
                    function: name.clone(),
                    alias: alias.clone(),
                };
                missing.insert(id, place);
            }
        }
        for (id, place) in inner.ledger.every_url().await? {
            if missing.get(id.as_str()) == Some(&place) {
                missing.remove(id.as_str());
            } else {
                inner.ledger.delete_url(&id).await?;
            }
        }
        for (id, place) in missing {
            inner.ledger.put_url(id, &place).await?;
        }
        Ok(())
    }

    async fn count_layers(&self, packages: &mut Packages) -> Result<(), RecoverError> {
        let inner = &self.inner;
        let mut after: Option<(String, u64)> = None;
        loop {
            let place = after.as_ref().map(|(name, number)| LayerPlace::Version(name, *number));
            let page = inner.ledger.layers(place, PAGE).await?;
            let Some(Stored { record: last, .. }) = page.last() else {
                return Ok(());
            };
            after = Some((last.name.clone(), last.number));
            for layer in page {
                let package = layer.record.package;
                inner.depot.share(package);
                packages.entry(package.digest).or_insert(false);
                inner.totals.add_code(package.zip_bytes);
            }
        }
    }

    fn count_version(&self, version: &VersionRecord, packages: &mut Packages) {
        self.inner.share(version);
        self.inner.totals.add_code(version.code.zip_bytes);
        for package in version.packages() {
            *packages.entry(package.digest).or_insert(false) |= version.is_unsettled();
        }
    }

    /// Puts packages in place. One whose zip is gone keeps its functions from running, and nothing else.
    async fn restore(&self, packages: Packages) -> Result<(), RecoverError> {
        for (digest, may_be_torn) in packages {
            match self.inner.depot.restore(digest, may_be_torn).await {
                Err(lost @ DepotError::Lost(_)) => {
                    let lost = &lost as &dyn std::error::Error;
                    tracing::error!(error = lost, "a package is gone: deploy its functions again");
                }
                other => other?,
            }
        }
        Ok(())
    }

    fn recover_provisioned(
        &self,
        name: &FunctionName,
        qualifier: &str,
        version: &VersionRecord,
        provisioned: Option<Provisioned>,
    ) {
        if let Some(provisioned) = provisioned {
            self.inner
                .totals
                .set_provisioned(name, qualifier, Some(provisioned.count));
            self.provision(name, version, provisioned.count);
        }
    }
}

/// The packages that records use, each with whether it may be torn.
type Packages = HashMap<Digest, bool>;

/// What the start needs to know of a function.
struct Known {
    last_version: u64,
    is_unsettled: bool,
    /// Versions that wait for their first template.
    awaiting: Vec<Version>,
    /// The ids of its function URLs, each with its alias.
    urls: Vec<(String, Option<AliasName>)>,
}

impl Known {
    fn of(record: &FunctionRecord) -> Self {
        Self {
            last_version: record.last_version,
            is_unsettled: record.latest.is_unsettled(),
            awaiting: Vec::new(),
            urls: record
                .latest
                .attached
                .url
                .iter()
                .map(|url| (url.id.clone(), None))
                .collect(),
        }
    }
}
