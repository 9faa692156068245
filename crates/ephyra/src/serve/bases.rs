//! What runtimes boot from, made on this machine: for those that need such.

use ephyra_guest::java::base::{Bases, Jvm};
use ephyra_guest::prepared::Prepared;
use ephyra_sandbox::Step;
use ephyra_sandbox::client::{Blank, CreateError, Warden};
use ephyra_sandbox::runtimes::Kind;
use ephyra_sandbox::sandbox::Sandbox;
use futures_util::future::BoxFuture;

use super::builder::chain;

/// Opens what was made before; what is not there is made when it is needed.
pub(crate) fn open(warden: &Warden, prepared: Prepared) -> std::io::Result<Bases> {
    let jobs = warden.clone();
    let prepare = move |blank| -> BoxFuture<'static, _> {
        let warden = jobs.clone();
        Box::pin(async move { warden.prepare(blank).await })
    };
    let (bases, outdated) = Bases::open(jvms(warden), prepared, Box::new(prepare))?;
    // Somebody has functions for these.
    for runtime in outdated {
        bases.begin(&runtime);
    }
    Ok(bases)
}

/// Builds a blank sandbox with what its runtime boots from, waiting for that to be made.
pub(crate) async fn prepare(warden: &Warden, bases: &Bases, mut blank: Blank) -> Result<Sandbox, CreateError> {
    if blank.base.is_none() {
        blank.base = bases.of(&blank.runtime).await.map_err(|error| CreateError::Failed {
            step: Step::Base,
            errno: 0,
            text: chain(&error),
        })?;
    }
    warden.prepare(blank).await
}

/// The machine's JVMs.
fn jvms(warden: &Warden) -> Vec<Jvm> {
    let all = warden.runtimes().iter();
    all.filter(|runtime| runtime.kind == Kind::Java)
        .map(|runtime| Jvm {
            runtime: runtime.identifier.clone(),
            executable: runtime.executable.to_string_lossy().into_owned(),
            version: runtime.version.clone(),
            compiler: runtime
                .compiler
                .as_ref()
                .map(|path| path.to_string_lossy().into_owned()),
        })
        .collect()
}
