//! What happens in the copy of the warden that becomes a sandbox's pid 1: it builds the sandbox around itself and waits,
//! privileged, for whom it is. When it is told, it mounts what belongs to the function and gives up every right. Whatever
//! it starts before that gives them up by itself. Read `root`, `lockdown`, `order`, then `init` and `start`.

mod init;
mod lockdown;
mod order;
mod root;
mod start;

use std::collections::BTreeSet;
use std::io;
use std::mem::ManuallyDrop;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use ephyra_sys::clone::Namespaces;
use ephyra_sys::descriptor::{close_all_except, place};
use ephyra_sys::namespace::unshare;
use rustix::fs::{Mode, OFlags};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with, sockopt};

use crate::cgroup::Tree;
use crate::isolation::Piece;
use crate::protocol::Step;
use crate::seccomp::Filter;
use crate::skeleton::HOST_NAME;
use crate::warden::{Image, Network, Scratch};

pub(crate) use lockdown::{Reach, become_user, bound_capabilities, end_with_parent, landlock, limits};
pub(crate) use order::{BuildReport, Mounts, Order, give};
pub(crate) use root::enter;

use lockdown::Rights;

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
    /// What the runtime boots from, mounted nowhere yet.
    pub(crate) base: Option<&'a OwnedFd>,
    /// The file system for /tmp.
    pub(crate) tmp: Tmp<'a>,
    /// How many files may be open.
    pub(crate) open_files: u64,
    /// The guest's user as the host sees it; also its group.
    pub(crate) host_uid: u32,
    /// The slot's user namespace, when one is used.
    pub(crate) user_namespace: Option<BorrowedFd<'a>>,
    /// The slot's network, when it has one.
    pub(crate) network: Option<BorrowedFd<'a>>,
    /// Whether the runtime comes from a zygote; then pid 1 has no use for what the runtime holds.
    pub(crate) has_zygote: bool,
    /// The guest's end of the control stream.
    pub(crate) control: OwnedFd,
    /// Pid 1's end of the supervisor socket.
    pub(crate) supervisor: OwnedFd,
    /// The write end of the runtime's output pipe.
    pub(crate) output: OwnedFd,
    /// The write end of the extensions' output pipe.
    pub(crate) extension_output: OwnedFd,
    /// Where it is said that the sandbox stands, or why not, and where orders come from.
    pub(crate) report: OwnedFd,
}

/// Where a sandbox's first /tmp comes from.
pub(crate) enum Tmp<'a> {
    /// It was made before, and is mounted nowhere yet.
    Ready(&'a OwnedFd),
    /// None was left: each pid 1 makes its own, beside the others.
    Make(&'a Scratch),
}

/// A step that failed.
pub(crate) struct Failure {
    step: Step,
    errno: i32,
    text: String,
}

impl Failure {
    /// As pid 1 says it.
    fn report(self) -> BuildReport {
        let Self { step, errno, text } = self;
        BuildReport::Failed { step, errno, text }
    }
}

impl From<Failure> for io::Error {
    fn from(failure: Failure) -> Self {
        match failure.errno {
            0 => Self::other(failure.text),
            errno => Self::from_raw_os_error(errno),
        }
    }
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

/// The namespaces that pid 1 is cloned into. The cgroup namespace comes later, when it is in its group, and so does the
/// network's, which is entered.
pub(crate) fn namespaces(pieces: &BTreeSet<Piece>) -> Namespaces {
    [
        (Piece::MountNamespace, Namespaces::MOUNT),
        (Piece::PidNamespace, Namespaces::PID),
        (Piece::IpcNamespace, Namespaces::IPC),
        (Piece::UtsNamespace, Namespaces::UTS),
    ]
    .into_iter()
    .filter(|(piece, _)| pieces.contains(piece))
    .fold(Namespaces::none(), |all, (_, one)| all.and(one))
}

/// All namespaces that a sandbox has of its own, but for the user's.
pub(crate) fn all_namespaces(pieces: &BTreeSet<Piece>) -> Namespaces {
    let cloned = namespaces(pieces).and(Namespaces::NETWORK);
    if pieces.contains(&Piece::CgroupNamespace) {
        cloned.and(Namespaces::CGROUP)
    } else {
        cloned
    }
}

/// The body of pid 1: builds, says so, supervises. Its result is the status of the process.
pub(crate) fn run(blueprint: Blueprint<'_>) -> i32 {
    let built = build(&blueprint);
    let rights = Rights::of(&blueprint);
    let Blueprint {
        has_zygote,
        control,
        supervisor,
        output,
        extension_output,
        report,
        ..
    } = blueprint;
    let Built {
        listener,
        network,
        image,
    } = match built {
        Ok(built) => built,
        Err(failure) => {
            // Nobody is left to be told when this fails.
            order::say(&report, &failure.report(), &[]).unwrap_or_default();
            return 1;
        }
    };
    let mut descriptors = vec![listener.as_fd()];
    descriptors.extend(network.iter().map(Network::namespace));
    descriptors.extend(image.iter().flat_map(Image::parts));
    let ready = BuildReport::Ready {
        network: network.is_some(),
    };
    // An error here means that the warden is gone, and with it the reason to go on.
    if order::say(&report, &ready, &descriptors).is_err() {
        return 1;
    }
    drop((listener, network, image));
    init::supervise(init::Parts {
        rights,
        runtime: (!has_zygote).then_some((control, output)),
        extension_output,
        supervisor,
        report,
    })
}

/// What the warden gets of a sandbox that stands.
struct Built {
    listener: OwnedFd,
    /// The network, where there was none for it and another sandbox may have it later.
    network: Option<Network>,
    /// The /tmp, likewise.
    image: Option<Image>,
}

fn build(blueprint: &Blueprint<'_>) -> Result<Built, Failure> {
    let uses = |piece| blueprint.pieces.contains(&piece);
    lockdown::end_with_parent().at(Step::Privileges)?;
    // Before anything that is used is the sandbox's own.
    let made;
    let (tmp, image) = match &blueprint.tmp {
        Tmp::Ready(tmp) => (*tmp, None),
        Tmp::Make(scratch) => {
            let own = scratch.make_own(blueprint.host_uid).at(Step::Tmp)?;
            let (mount, image) = match own.copy() {
                Some(mount) => (mount, Some(own)),
                None => (own.into_mount(), None),
            };
            // It is closed with all that is not kept.
            made = ManuallyDrop::new(mount);
            (&*made, image)
        }
    };
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
    let (listener, network) = enter_network(blueprint.network)?;

    root::build(blueprint, tmp)?;

    silence().at(Step::Close)?;
    if uses(Piece::OwnUsers) || !uses(Piece::UserNamespace) {
        rustix::thread::set_thread_groups(&[]).at(Step::Identity)?;
    }
    let mut keep = vec![
        blueprint.control.as_fd(),
        blueprint.supervisor.as_fd(),
        blueprint.output.as_fd(),
        blueprint.extension_output.as_fd(),
        blueprint.report.as_fd(),
        listener.as_fd(),
    ];
    keep.extend(blueprint.user_namespace);
    keep.extend(network.iter().map(Network::namespace));
    keep.extend(image.iter().flat_map(Image::parts));
    close_all_except(&keep).at(Step::Close)?;
    Ok(Built {
        listener,
        network,
        image,
    })
}

/// Where the platform itself runs with a higher score already, that one stays: lowering it takes a privilege.
pub(crate) fn raise_oom_score() -> io::Result<()> {
    match std::fs::write("/proc/self/oom_score_adj", OOM_SCORE) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        result => result,
    }
}

/// Takes the warden's standard streams away.
pub(crate) fn silence() -> io::Result<()> {
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    (0..=2).try_for_each(|number| place(null.as_fd(), number))
}

/// Enters the slot's network, or a new one; its listener, and the new one where another sandbox may have it later.
/// Somebody may still hold the listener of the sandbox before.
fn enter_network(network: Option<BorrowedFd<'_>>) -> Result<(OwnedFd, Option<Network>), Failure> {
    if let Some(network) = network {
        ephyra_sys::namespace::enter_network(network).at(Step::Loopback)?;
        match listener() {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            listener => return Ok((listener.at(Step::Listener)?, None)),
        }
    }
    unshare(Namespaces::NETWORK).at(Step::Loopback)?;
    let network = Network::set_up().at(Step::Loopback)?;
    Ok((
        listener().at(Step::Listener)?,
        Some(network).filter(Network::is_reusable),
    ))
}

fn listener() -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    bind(&socket, &LISTENER)?;
    listen(&socket, BACKLOG)?;
    Ok(socket)
}
