//! A zygote's process: a copy of the warden that keeps no more of its rights than entering sandboxes takes, in the root
//! that guests of its runtime have, and executes the interpreter.

use std::collections::BTreeSet;
use std::io::{self, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use ephyra_sys::clone::{Namespaces, clone};
use ephyra_sys::descriptor::{place, raise};
use ephyra_sys::exec::Program;
use ephyra_sys::signal;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::Pid;
use rustix::thread::CapabilitySet;

use super::message;
use crate::build::{bound_capabilities, end_with_parent, enter, limits, raise_oom_score, silence};
use crate::cgroup::{Limits, Tree};
use crate::isolation::Piece;
use crate::mount::{READ_ONLY, attach_as_is, copy_of, new_file_system};
use crate::packet;
use crate::seccomp::Filter;
use crate::skeleton::make_folders;
use crate::supervisor::StartCommand;
use ephyra_core::limits::OPEN_FILES;

/// The descriptor that a zygote finds its socket at.
const SOCKET: i32 = 3;
/// As much of the processors as goes with this memory: a zygote is short of neither.
const MEMORY_MB: u32 = 1769;
/// Folders of functions that are empty in a zygote's root, with those in them that the dynamic linker looks for: it
/// remembers which folders of its path there were not, and its forks with it.
const FOLDERS: &[(&str, &[&str])] = &[("var/task", &["lib"]), ("opt", &["lib"])];

/// What it takes to enter a sandbox: its namespaces (of pid 1, which lets nobody look into it), its root, its user.
const CAPABILITIES: CapabilitySet = CapabilitySet::SYS_ADMIN
    .union(CapabilitySet::SYS_CHROOT)
    .union(CapabilitySet::SYS_PTRACE)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETPCAP);

/// What all zygotes have in common.
#[derive(Debug)]
pub(crate) struct Setting {
    /// The pieces of isolation that are used.
    pub(crate) pieces: BTreeSet<Piece>,
    /// The system call filter of their forks.
    pub(crate) filter: Filter,
    /// The control groups.
    pub(crate) tree: Option<Tree>,
    /// An empty folder in the warden's mount namespace to put a new root on.
    pub(crate) mount_point: PathBuf,
    /// The runtimes' prepared roots.
    pub(crate) skeletons: Vec<PathBuf>,
    /// What they import before the first fork.
    pub(crate) modules: Vec<String>,
    /// How many forks one makes before it is replaced.
    pub(crate) most_forks: u32,
}

/// A zygote that was started.
pub(super) struct Started {
    pub(super) pid: Pid,
    pub(super) socket: OwnedFd,
    /// The read end of its standard output and error, without waiting.
    pub(super) output: OwnedFd,
}

/// Starts a zygote of a runtime in a new control group.
pub(super) fn start(setting: &Setting, index: usize, command: &StartCommand, group: &str) -> io::Result<Started> {
    let uses = |piece| setting.pieces.contains(&piece);
    let skeleton = setting.skeletons.get(index).ok_or(io::ErrorKind::NotFound)?;
    let program = Program::new(&command.arguments, &command.variables).map_err(io::Error::other)?;
    let (socket, its_end) = packet::pair()?;
    let (output, its_output) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
    let filter = uses(Piece::Seccomp).then(|| setting.filter.encoded());
    // Landlock and the filter ask for it too.
    let has_no_new_privileges = [Piece::NoNewPrivileges, Piece::Landlock, Piece::Seccomp]
        .into_iter()
        .any(uses);
    let setup = message::setup(
        has_no_new_privileges,
        uses(Piece::Landlock),
        filter.as_deref(),
        &setting.modules,
    );
    packet::send(&socket, &setup, &[], false)?;
    let target = make_group(setting.tree.as_ref(), group)?;
    let namespaces = [
        (Piece::NetworkNamespace, Namespaces::NETWORK),
        (Piece::IpcNamespace, Namespaces::IPC),
        (Piece::UtsNamespace, Namespaces::UTS),
    ];
    let namespaces = namespaces
        .into_iter()
        .filter(|(piece, _)| uses(*piece))
        .fold(Namespaces::MOUNT, |all, (_, one)| all.and(one));
    let warden = rustix::process::getpid();
    let pid = clone(namespaces, target.as_ref().map(AsFd::as_fd), || {
        let become_it = || -> io::Result<()> {
            if let Some(tree) = &setting.tree {
                tree.join(group)?;
            }
            rustix::process::setsid()?;
            signal::reset()?;
            raise_oom_score()?;
            root(skeleton, &setting.mount_point, uses(Piece::PivotRoot))?;
            silence()?;
            let [its_end, its_output] = [raise(its_end, SOCKET + 1)?, raise(its_output, SOCKET + 1)?];
            place(its_output.as_fd(), 1)?;
            place(its_output.as_fd(), 2)?;
            place(its_end.as_fd(), SOCKET)?;
            limits(OPEN_FILES)?;
            if uses(Piece::OwnUsers) || !uses(Piece::UserNamespace) {
                rustix::thread::set_thread_groups(&[])?;
            }
            bound_capabilities(CAPABILITIES)?;
            if has_no_new_privileges {
                rustix::thread::set_no_new_privs(true)?;
            }
            end_with_parent()?;
            if rustix::process::getppid() == Some(warden) {
                Ok(rustix::process::chdir(command.directory.as_str())?)
            } else {
                Err(io::ErrorKind::BrokenPipe.into())
            }
        };
        let error = match become_it() {
            Ok(()) => program.execute(),
            Err(error) => error,
        };
        // Its standard error, once there is one of its own.
        match writeln!(io::stderr(), "it could not be started: {error}") {
            Ok(()) => 127,
            Err(_) => 126,
        }
    });
    match pid {
        Ok(pid) => Ok(Started { pid, socket, output }),
        Err(error) => {
            if let Some(tree) = &setting.tree {
                tree.remove(group)?;
            }
            Err(io::Error::other(error))
        }
    }
}

/// Makes the control group; the directory to clone into where version 2 is used.
fn make_group(tree: Option<&Tree>, group: &str) -> io::Result<Option<OwnedFd>> {
    let Some(tree) = tree else { return Ok(None) };
    tree.make(group)?;
    tree.settle(group)?;
    tree.limit(group, Limits { memory_mb: MEMORY_MB })?;
    tree.clone_target(group)
}

/// The root that guests have, without anything of a function's.
fn root(skeleton: &Path, mount_point: &Path, pivots: bool) -> io::Result<()> {
    attach_as_is(&copy_of(skeleton, true)?, mount_point)?;
    for (folder, inside) in FOLDERS {
        let empty = new_file_system("tmpfs", &[("size", "64k"), ("mode", "0755")])?;
        let target = mount_point.join(folder);
        attach_as_is(&empty, &target)?;
        for name in *inside {
            make_folders(&target.join(name))?;
        }
        ephyra_sys::mount::restrict(empty.as_fd(), READ_ONLY, false)?;
    }
    enter(mount_point, pivots)
}
