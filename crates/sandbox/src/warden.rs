//! The one process with privileges: it copies itself, mounts, and writes control groups, for a server that may not.
//!
//! [`start`] turns a single-threaded process that root has started into the warden and forks the server off it. From
//! then on the warden is one loop over one socket and its signals (`state`), and reads nothing from the network.

mod data;
mod folders;
mod groups;
mod networks;
mod scratch;
mod server;
mod slots;
mod stage;
mod state;

use std::collections::BTreeSet;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use ephyra_sys::clone::CloneError;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::cgroup::{Layout, Tree};
use crate::isolation::{self, IsolationError, Piece, Report};
use crate::packet;
use crate::runtimes::{Runtime, Search, discover};
use crate::seccomp::Filter;
use crate::skeleton::{RuntimeFiles, SkeletonError};
use crate::supervisor::StartCommand;
use crate::zygote::{Setting, Zygotes};

pub use data::{DataError, MARKER};
pub(crate) use networks::Network;
pub(crate) use scratch::{Image, Scratch, probe as probe_tmp};
pub(crate) use slots::{Users, user_namespace};
pub(crate) use stage::{STAGE, leave_mounts};

/// The first of the users that the platform takes, unless configured otherwise: in a range that neither
/// `/etc/subuid` (up to 600,100,000), nor container managers (up to about 1,001,000,000), nor systemd (see
/// <https://systemd.io/UIDS-GIDS/>: from 1,879,048,192 on nothing is allotted) hand out.
pub const UID_BASE: u32 = 1_900_000_000;
/// The most sandboxes at once, and with one more the number of users that are taken from the base on.
pub const SANDBOXES: u32 = 8192;
/// The folder of unpacked packages in the data folder: one folder for each digest, named by it, owned by the server.
pub const PACKAGES: &str = "code";
/// The folder of what was prepared for runtimes and functions in the data folder, likewise.
pub const PREPARED: &str = "prepared";

/// How many forks a zygote makes before it is replaced, unless configured otherwise.
pub const ZYGOTE_FORKS: u32 = 10_000;

/// Open files of the warden and of the server, each.
const OPEN_FILES: u64 = 65_536;

/// What the operator decides.
#[derive(Clone, Debug)]
pub struct Options {
    /// The data folder; made when it is not there.
    pub data: PathBuf,
    /// The server's user; sandboxes have the 8,192 that follow.
    pub uid_base: u32,
    /// More folders to look for runtimes in.
    pub runtime_paths: Vec<PathBuf>,
    /// What is put into `/var/runtime` of each family.
    pub files: RuntimeFiles,
    /// How the zygote of a runtime is started, where the runtime has one: its interpreter with a program of `files`.
    pub zygote: fn(&Runtime) -> Option<StartCommand>,
    /// The version of what runs WebAssembly, when this program does: see [`Kind::Wasm`](crate::runtimes::Kind::Wasm).
    pub wasm: Option<String>,
    /// The modules that zygotes import before their first fork.
    pub zygote_modules: Vec<String>,
    /// How many forks a zygote makes before it is replaced: they share its address layout and hash secret.
    pub zygote_forks: u32,
    /// The pieces of isolation to go without.
    pub weaker: BTreeSet<Piece>,
    /// The control group below which the platform makes its own, from the root of the hierarchies.
    pub cgroup_parent: PathBuf,
    /// How long the server may take to end when told to, before it is killed.
    pub drain: Duration,
}

impl Options {
    /// The defaults for a data folder.
    pub fn new(data: impl Into<PathBuf>) -> Self {
        Self {
            data: data.into(),
            uid_base: UID_BASE,
            runtime_paths: Vec::new(),
            files: RuntimeFiles::new(),
            zygote: |_| None,
            wasm: None,
            zygote_modules: Vec::new(),
            zygote_forks: ZYGOTE_FORKS,
            weaker: BTreeSet::new(),
            cgroup_parent: PathBuf::from("/"),
            drain: Duration::from_secs(30),
        }
    }
}

/// What the server is given.
#[derive(Debug)]
pub struct ServerSide {
    /// The socket to the warden, for [`Warden::connect`](crate::client::Warden::connect).
    pub socket: OwnedFd,
    /// The runtimes of this machine, in the warden's order.
    pub runtimes: Vec<Runtime>,
    /// How functions are isolated.
    pub isolation: Report,
    /// The data folder's canonical path, the only folder of the host that the server sees and may write to.
    pub data: PathBuf,
}

/// Why the platform cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Only root can build sandboxes.
    #[error("ephyra must be started as root: it needs to make namespaces, mounts and control groups (try sudo)")]
    NotRoot,
    /// The users would go beyond those that there are.
    #[error("--uid-base {0} leaves no room for {SANDBOXES} users")]
    UidBase(u32),
    /// The data folder cannot be used.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A piece of isolation is missing.
    #[error(transparent)]
    Isolation(#[from] IsolationError),
    /// A runtime's root could not be built.
    #[error(transparent)]
    Skeleton(#[from] SkeletonError),
    /// A step of starting failed.
    #[error("{step} failed")]
    Step {
        /// Which.
        step: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The server could not be forked.
    #[error("the server could not be started")]
    Fork(#[source] CloneError),
}

/// Names the step of starting that an error happened in.
trait During<T> {
    /// Names the step.
    fn during(self, step: &'static str) -> Result<T, StartError>;
}

impl<T, E: Into<io::Error>> During<T> for Result<T, E> {
    fn during(self, step: &'static str) -> Result<T, StartError> {
        self.map_err(|error| StartError::Step {
            step,
            source: error.into(),
        })
    }
}

/// As many open files as wanted, or as the machine's administrator allows: for the warden one for each slot, for the
/// server nine for each sandbox and one for each connection.
fn raise_open_files() -> io::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    let wanted = Rlimit {
        current: Some(OPEN_FILES),
        maximum: limit.maximum.map(|maximum| maximum.max(OPEN_FILES)),
    };
    match setrlimit(Resource::Nofile, wanted) {
        Err(rustix::io::Errno::PERM) => {
            let most = Rlimit {
                current: limit.maximum,
                maximum: limit.maximum,
            };
            Ok(setrlimit(Resource::Nofile, most)?)
        }
        result => Ok(result?),
    }
}

/// Becomes the warden. Runs `serve` in the server, an unprivileged child, which ends with its result as status.
/// Returns when the server has ended and nothing is left of it or of any sandbox: the server's status, or 1 when it
/// ended well without having been told to.
///
/// To be called by a process that has one thread, before any asynchronous runtime is made.
pub fn start(options: Options, serve: impl FnOnce(ServerSide) -> i32) -> Result<i32, StartError> {
    if !rustix::process::geteuid().is_root() {
        return Err(StartError::NotRoot);
    }
    let users = slots::Users::new(options.uid_base, &options.weaker).ok_or(StartError::UidBase(options.uid_base))?;
    // First what only reads, so that a machine that will not do is told so before anything is made on it.
    let mut isolation = isolation::check(&options.weaker, options.uid_base);
    let pieces = isolation.require()?;
    let data = data::Folder::take(&options.data, users.server())?;
    let filter = Filter::compile()
        .map_err(io::Error::other)
        .during("compiling the system call filter")?;

    raise_open_files().during("raising the limit of open files")?;
    let wanted = isolation::controllers(&pieces);
    let layout = Layout::read().during("finding the control groups")?;
    let tree = layout
        .has_any()
        .then(|| Tree::new(&layout, wanted, &options.cgroup_parent, &data.group_name()));
    let mut groups = groups::Groups::new(tree);
    groups.sweep().during("sweeping what an earlier run has left")?;
    groups.make_base().during("making the control group")?;

    let search = Search {
        extra: options.runtime_paths.clone(),
        uid: Some(users.server()),
        wasm: options.wasm.clone(),
    };
    let runtimes = discover(&search);
    let stage = stage::Stage::build(&data, &runtimes, &options.files)?;
    let scratch = scratch::Scratch::open(&data);
    isolation.tmp = scratch::place(&scratch);
    if let isolation::TmpPlace::Memory { why } = &isolation.tmp {
        tracing::warn!(
            why,
            "functions' /tmp is in memory: what they write there counts against their memory"
        );
    }
    let scratch = scratch.ok();
    let (socket, servers_end) = packet::pair().during("making the socket to the server")?;
    let signals = state::signals().during("taking signals")?;

    let warden = rustix::process::getpid();
    let side = ServerSide {
        socket: servers_end,
        runtimes,
        isolation,
        data: data.path().to_owned(),
    };
    let folders = folders::Folders::open(&stage, users.server(), pieces.contains(&Piece::Overlayfs))
        .during("opening the packages")?;
    let networks = networks::Networks::open().during("opening the network namespace")?;
    let setting = Setting {
        pieces: pieces.clone(),
        filter: filter.clone(),
        tree: groups.tree().cloned(),
        mount_point: stage.mount_point.clone(),
        skeletons: stage.skeletons.clone(),
        modules: options.zygote_modules.clone(),
        most_forks: options.zygote_forks,
    };
    let zygotes = Zygotes::new(setting, side.runtimes.iter().map(options.zygote).collect());
    let runtimes = side.runtimes.iter().map(|runtime| runtime.kind).collect();
    let pivots = pieces.contains(&Piece::PivotRoot);
    let mut parts = Some((socket, signals, groups, stage, folders, data, scratch));
    let forked = {
        let parts = &mut parts;
        ephyra_sys::clone::fork(move || {
            // The warden's own descriptors are none of the server's business.
            let Some((socket, signals, groups, stage, folders, data, scratch)) = parts.take() else {
                return server::FAILED;
            };
            drop((socket, signals, groups, folders, data, scratch));
            server::run(side, &stage, pivots, users.server(), warden, serve)
        })
    };
    let server = forked.map_err(StartError::Fork)?;
    let Some((socket, signals, groups, stage, folders, data, scratch)) = parts else {
        return Ok(server::FAILED);
    };
    let state = state::State::new(state::Parts {
        socket,
        signals,
        server,
        groups,
        stage,
        folders,
        scratch,
        zygotes,
        slots: slots::Slots::new(users, pieces.contains(&Piece::UserNamespace), networks),
        pieces,
        filter,
        runtimes,
        drain: options.drain,
    });
    let status = state.run();
    drop(data);
    Ok(status)
}
