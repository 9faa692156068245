//! Cases that a server runs, all in one server.

mod blank;
mod build;
mod escape;
mod extension;
mod measure;
mod network;
mod run;
mod tmp;
mod zygote;

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;

use ephyra_core::digest::Digest;
use ephyra_sandbox::client::Warden;
use ephyra_sandbox::isolation::TmpPlace;
use ephyra_sandbox::supervisor::Exit;
use ephyra_sandbox::warden::{PACKAGES, PREPARED, ServerSide};

use crate::case::{Tally, report};
use crate::guest::{self, Guest, python, spec};
use crate::world::World;

/// What each case is given.
#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) warden: Warden,
    pub(crate) data: PathBuf,
    pub(crate) tmp: TmpPlace,
    /// Whether [`Server::python`] is a fork of a zygote, or executed.
    pub(crate) is_forked: bool,
}

/// A case by its name.
pub(crate) type Case = (&'static str, Run);
type Run = fn(Server) -> Pin<Box<dyn Future<Output = ()> + Send>>;

/// Lists asynchronous functions as cases.
macro_rules! cases {
    ($($case:ident),* $(,)?) => { &[$((stringify!($case), |server| Box::pin($case(server)))),*] };
}
pub(crate) use cases;

impl Server {
    /// Connects to the warden, as a server does.
    pub(crate) fn connect(side: ServerSide) -> Self {
        Self {
            data: side.data.clone(),
            tmp: side.isolation.tmp,
            is_forked: false,
            warden: Warden::connect(side.socket, side.runtimes).unwrap(),
        }
    }

    /// Unpacks a package as the server does; its files by name and content.
    pub(crate) fn package(&self, files: &[(&str, &str)]) -> Digest {
        let digest = Digest::of(format!("{files:?}").as_bytes());
        fill(&self.folder(digest), files);
        digest
    }

    /// Prepares something as the server does; its files by name and content.
    pub(crate) fn prepared(&self, files: &[(&str, &str)]) -> Digest {
        let digest = Digest::of(format!("prepared {files:?}").as_bytes());
        fill(&self.prepared_folder(digest), files);
        digest
    }

    /// Where something that was prepared is.
    pub(crate) fn prepared_folder(&self, digest: Digest) -> PathBuf {
        self.data.join(PREPARED).join(digest.to_string())
    }

    /// Where a package is unpacked.
    pub(crate) fn folder(&self, digest: Digest) -> PathBuf {
        self.data.join(PACKAGES).join(digest.to_string())
    }

    /// A package with nothing of interest in it.
    pub(crate) fn empty(&self) -> Digest {
        self.package(&[("handler.py", "x = 1\n")])
    }

    /// The smallest sandbox with a python.
    pub(crate) fn spec(&self) -> guest::Spec {
        spec(guest::runtime(&self.warden, "python3."), self.empty())
    }

    /// Starts a script in python.
    pub(crate) async fn python(&self, script: &str) -> Guest {
        if self.is_forked {
            return guest::forked(&self.warden, self.spec(), script).await.expect("a fork");
        }
        python(&self.warden, self.spec(), script).await
    }

    /// Runs a script in python to its end and returns what it wrote.
    pub(crate) async fn output_of(&self, script: &str) -> String {
        let mut guest = self.python(script).await;
        let ended = guest.ended().await;
        assert_eq!(ended.exit, Some(Exit::Exited(0)), "{}", ended.output);
        guest.end().await;
        ended.output
    }
}

/// Writes the files of a folder that is not there yet.
fn fill(folder: &Path, files: &[(&str, &str)]) {
    if fs::create_dir(folder).is_ok() {
        for (name, text) in files {
            let file = folder.join(name);
            fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
            fs::write(&file, text).expect("a file");
            fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).expect("a mode");
        }
    }
}

/// Runs the cases.
pub(crate) fn run(tally: &mut Tally) {
    let all = [
        build::CASES,
        blank::CASES,
        extension::CASES,
        run::CASES,
        escape::CASES,
        tmp::CASES,
        network::CASES,
        measure::CASES,
        zygote::CASES,
    ]
    .concat();
    let executed = all.iter().map(|(name, case)| ((*name).to_owned(), *case, false));
    // Whoever tries to get out must fail alike, wherever it comes from.
    let forked = escape::CASES
        .iter()
        .map(|(name, case)| (format!("forked_{name}"), *case, true));
    let cases: Vec<_> = executed
        .chain(forked)
        .filter(|(name, ..)| name.contains(tally.wanted()))
        .collect();
    if cases.is_empty() {
        return;
    }
    let (results, writer) = rustix::pipe::pipe().expect("a pipe");
    let world = World::start(|_| {}, |side| serve(side, &cases, &writer));
    drop(writer);
    tally.take(results);
    // Nobody has told it to.
    assert_eq!(
        world.wait().exit_status(),
        Some(1),
        "the platform of the cases ends in good order"
    );
}

fn serve(side: ServerSide, cases: &[(String, Run, bool)], results: &OwnedFd) -> i32 {
    block_on(async {
        let server = Server::connect(side);
        for (name, case, is_forked) in cases {
            let server = Server {
                is_forked: *is_forked,
                ..server.clone()
            };
            let is_ok = tokio::spawn(case(server)).await.is_ok();
            report(results, name, is_ok);
        }
    });
    0
}

/// Runs a future as a server does.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(future)
}
