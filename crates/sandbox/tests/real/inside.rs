//! Cases that a server runs, all in one server.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::pin::Pin;

use ephyra_core::digest::Digest;
use ephyra_sandbox::client::Warden;
use ephyra_sandbox::supervisor::Notice;
use ephyra_sandbox::warden::{PACKAGES, ServerSide};

use crate::case::{Tally, report};
use crate::guest::{self, python, spec};
use crate::world::World;

/// What each case is given.
#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) warden: Warden,
    pub(crate) data: PathBuf,
}

type Case = (&'static str, fn(Server) -> Pin<Box<dyn Future<Output = ()> + Send>>);

macro_rules! cases {
    ($($case:ident),* $(,)?) => { &[$((stringify!($case), |server| Box::pin($case(server)))),*] };
}

const CASES: &[Case] = cases![a_python_runs];

impl Server {
    /// Unpacks a package as the server does; its files by name and content.
    pub(crate) fn package(&self, files: &[(&str, &str)]) -> Digest {
        let digest = Digest::of(format!("{files:?}").as_bytes());
        let folder = self.data.join(PACKAGES).join(digest.to_string());
        if fs::create_dir(&folder).is_ok() {
            for (name, text) in files {
                let file = folder.join(name);
                fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
                fs::write(&file, text).expect("a file");
                let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
                fs::set_permissions(&file, mode).expect("a mode");
            }
        }
        digest
    }

    /// A package with nothing of interest in it.
    pub(crate) fn empty(&self) -> Digest {
        self.package(&[("handler.py", "x = 1\n")])
    }

    /// Runs a script in python to its end and returns what it wrote.
    pub(crate) async fn output_of(&self, script: &str) -> String {
        let mut guest = self.python(script).await;
        let ended = guest.ended().await;
        assert_eq!(ended.notice, Some(Notice::Exited(0)), "{}", ended.output);
        guest.end().await;
        ended.output
    }

    /// Starts a script in python.
    pub(crate) async fn python(&self, script: &str) -> guest::Guest {
        python(
            &self.warden,
            spec(guest::any_python(&self.warden), self.empty()),
            script,
        )
        .await
    }
}

/// Runs the cases.
pub(crate) fn run(tally: &mut Tally) {
    let cases: Vec<_> = CASES.iter().filter(|(name, _)| name.contains(tally.wanted())).collect();
    if cases.is_empty() {
        return;
    }
    let (results, writer) = rustix::pipe::pipe().expect("a pipe");
    let world = World::start(|_| {}, |side| serve(side, &cases, &writer));
    drop(writer);
    tally.take(results);
    tally.case("the_server_ends_in_good_order", || {
        // Nobody has told it to.
        assert_eq!(world.wait().exit_status(), Some(1));
    });
}

fn serve(side: ServerSide, cases: &[&Case], results: &OwnedFd) -> i32 {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let data = side.data.clone();
        let warden = Warden::connect(side).expect("a socket");
        for (name, case) in cases {
            let server = Server {
                warden: warden.clone(),
                data: data.clone(),
            };
            let is_ok = tokio::spawn(case(server)).await.is_ok();
            report(results, name, is_ok);
        }
    });
    0
}

async fn a_python_runs(server: Server) {
    let output = server
        .output_of("import os, sys, socket; print(os.getpid(), os.getuid(), os.getgid(), os.getcwd(), socket.gethostname(), os.environ, sorted(os.listdir('/')), sorted(os.listdir('/proc/self/fd')), open('/proc/self/status').read(), open('/proc/self/mounts').read())")
        .await;
    println!("{output}");
    assert!(Path::new("/proc").exists());
}
