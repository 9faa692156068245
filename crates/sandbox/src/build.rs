//! What happens in the copy of the warden that becomes a sandbox's pid 1: it builds the sandbox around itself, gives
//! up everything that was needed for it, and waits for what to start. Read `root`, `lockdown`, then `init`.

mod init;
mod lockdown;
mod root;

use std::collections::BTreeSet;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use ephyra_core::digest::Digest;
use ephyra_sys::clone::Namespaces;
use ephyra_sys::descriptor::{close_all_except, place};
use ephyra_sys::namespace::{enter_user, unshare};
use ephyra_sys::network::raise_loopback;
use rustix::fs::{Mode, OFlags};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with, sockopt};
use serde::{Deserialize, Serialize};

use crate::cgroup::Tree;
use crate::isolation::Piece;
use crate::packet;
use crate::protocol::Step;
use crate::seccomp::Filter;
use crate::skeleton::HOST_NAME;

pub(crate) use lockdown::{become_user, landlock};
pub(crate) use root::{INODES_PER_MB, enter};

/// Where the Runtime API listens inside a sandbox.
const LISTENER: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 9001);
/// How many connections may wait for the server: a runtime opens one, its extensions one each.
const BACKLOG: i32 = 64;
/// The score that makes the kernel end guests first when the whole machine is out of memory.
const OOM_SCORE: &str = "500";

/// All that a sandbox is built from. Descriptors belong to the new sandbox, the rest is borrowed from the warden.
pub(crate) struct Blueprint<'a> {
    /// The pieces of isolation that are used.
    pub(crate) pieces: &'a BTreeSet<Piece>,
    /// The system call filter.
    pub(crate) filter: &'a Filter,
    /// The group to join, with its tree.
    pub(crate) group: Option<(&'a Tree, &'a str)>,
    /// The runtime's prepared root.
    pub(crate) skeleton: &'a Path,
    /// An empty folder in the warden's mount namespace, the same for all, to put the new root on.
    pub(crate) mount_point: &'a Path,
    /// The folder of unpacked packages, as mounted in the warden's mount namespace.
    pub(crate) packages: &'a Path,
    /// The owner of the packages.
    pub(crate) server_uid: u32,
    /// The package.
    pub(crate) code: Digest,
    /// The layers.
    pub(crate) layers: &'a [Digest],
    /// The file system for /tmp, mounted nowhere yet; without one, /tmp is made in memory.
    pub(crate) tmp: Option<&'a OwnedFd>,
    /// The size of /tmp in MB.
    pub(crate) tmp_mb: u32,
    /// Whether to open the listener.
    pub(crate) has_listener: bool,
    /// The guest's user as the host sees it; also its group.
    pub(crate) host_uid: u32,
    /// The slot's user namespace, when one is used.
    pub(crate) user_namespace: Option<BorrowedFd<'a>>,
    /// The guest's end of the control stream.
    pub(crate) control: OwnedFd,
    /// Pid 1's end of the supervisor socket.
    pub(crate) supervisor: OwnedFd,
    /// The write end of the output pipe.
    pub(crate) output: OwnedFd,
    /// Where it is said that the sandbox stands, or why not.
    pub(crate) report: OwnedFd,
}

/// Pid 1 to the warden, once. `Ready` comes with the listener when one was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum BuildReport {
    /// The sandbox stands.
    Ready,
    /// It does not.
    Failed {
        /// What was being done.
        step: Step,
        /// The error number, 0 when there is none.
        errno: i32,
        /// The error.
        text: String,
    },
}

/// A step that failed.
pub(crate) struct Failure {
    step: Step,
    errno: i32,
    text: String,
}

/// Names the step that an error happened in.
pub(crate) trait At<T> {
    /// Names the step.
    fn at(self, step: Step) -> Result<T, Failure>;
}

impl<T, E: Into<io::Error>> At<T> for Result<T, E> {
    fn at(self, step: Step) -> Result<T, Failure> {
        self.map_err(|error| {
            let error = error.into();
            Failure {
                step,
                errno: error.raw_os_error().unwrap_or(0),
                text: error.to_string(),
            }
        })
    }
}

/// The namespaces that pid 1 is cloned into. The cgroup namespace comes later, when it is in its group.
pub(crate) fn namespaces(pieces: &BTreeSet<Piece>) -> Namespaces {
    [
        (Piece::MountNamespace, Namespaces::MOUNT),
        (Piece::PidNamespace, Namespaces::PID),
        (Piece::NetworkNamespace, Namespaces::NETWORK),
        (Piece::IpcNamespace, Namespaces::IPC),
        (Piece::UtsNamespace, Namespaces::UTS),
    ]
    .into_iter()
    .filter(|(piece, _)| pieces.contains(piece))
    .fold(Namespaces::none(), |all, (_, one)| all.and(one))
}

/// The body of pid 1: builds, says so, supervises. Its result is the status of the process.
pub(crate) fn run(blueprint: Blueprint<'_>) -> i32 {
    let built = build(&blueprint);
    let Blueprint {
        control,
        supervisor,
        output,
        report,
        ..
    } = blueprint;
    let (message, listener) = match built {
        Ok(listener) => (BuildReport::Ready, listener),
        Err(Failure { step, errno, text }) => (BuildReport::Failed { step, errno, text }, None),
    };
    let is_ready = message == BuildReport::Ready;
    let descriptors: Vec<BorrowedFd<'_>> = listener.iter().map(AsFd::as_fd).collect();
    let sent = postcard::to_stdvec(&message)
        .map_err(io::Error::other)
        .and_then(|bytes| packet::send(&report, &bytes, &descriptors, true));
    // An error here means that the warden is gone, and with it the reason to go on.
    if sent.is_err() || !is_ready {
        return 1;
    }
    drop((listener, report));
    init::supervise(control, supervisor, output)
}

fn build(blueprint: &Blueprint<'_>) -> Result<Option<OwnedFd>, Failure> {
    let uses = |piece| blueprint.pieces.contains(&piece);
    if let Some((tree, group)) = blueprint.group {
        tree.join(group).at(Step::JoinCgroup)?;
        if uses(Piece::CgroupNamespace) {
            unshare(Namespaces::CGROUP).at(Step::JoinCgroup)?;
        }
    }
    // Out of the reach of the terminal's signals.
    rustix::process::setsid().at(Step::Session)?;
    if uses(Piece::UtsNamespace) {
        ephyra_sys::namespace::set_host_name(HOST_NAME).at(Step::Session)?;
    }
    raise_oom_score().at(Step::Session)?;
    raise_loopback().at(Step::Loopback)?;
    let listener = if blueprint.has_listener {
        Some(listener().at(Step::Listener)?)
    } else {
        None
    };

    root::build(blueprint)?;

    silence().at(Step::Close)?;
    if uses(Piece::OwnUsers) || !uses(Piece::UserNamespace) {
        rustix::thread::set_thread_groups(&[]).at(Step::Identity)?;
    }
    if let Some(namespace) = blueprint.user_namespace {
        enter_user(namespace).at(Step::Identity)?;
    }
    let mut keep = vec![
        blueprint.control.as_fd(),
        blueprint.supervisor.as_fd(),
        blueprint.output.as_fd(),
        blueprint.report.as_fd(),
    ];
    keep.extend(listener.as_ref().map(AsFd::as_fd));
    close_all_except(&keep).at(Step::Close)?;
    lockdown::apply(blueprint)?;
    Ok(listener)
}

/// Where the platform itself runs with a higher score already, that one stays: lowering it takes a privilege.
fn raise_oom_score() -> io::Result<()> {
    match std::fs::write("/proc/self/oom_score_adj", OOM_SCORE) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        result => result,
    }
}

/// Takes the warden's standard streams away.
fn silence() -> io::Result<()> {
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    (0..=2).try_for_each(|number| place(null.as_fd(), number))
}

fn listener() -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    bind(&socket, &LISTENER)?;
    listen(&socket, BACKLOG)?;
    Ok(socket)
}
