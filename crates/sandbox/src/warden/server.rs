//! The server's process before it is the server: it sees its data folder and little else, and may do nothing special.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use ephyra_sys::clone::Namespaces;
use ephyra_sys::mount::Restrictions;
use ephyra_sys::namespace::unshare;
use ephyra_sys::signal;
use rustix::process::{DumpableBehavior, Pid, Signal};

use super::ServerSide;
use super::stage::Stage;
use crate::build::{become_user, enter};
use crate::mount::{READ_ONLY, TAME, attach, attach_as_is, copy_of, new_file_system};
use crate::skeleton::make_folders;

/// The status of a server that could not be brought about: EX_OSERR of sysexits.h.
pub(super) const FAILED: i32 = 71;

/// What the server sees of the host besides its data folder, read-only, as far as it is there: how to resolve names,
/// and whom to trust.
const SEEN: &[&str] = &[
    "/etc/hosts",
    "/etc/resolv.conf",
    "/etc/nsswitch.conf",
    "/etc/localtime",
    "/etc/ssl",
    "/etc/pki",
    "/usr/share/ca-certificates",
];

/// Becomes the server and runs `serve`.
pub(super) fn run(
    side: ServerSide,
    stage: &Stage,
    pivots: bool,
    uid: u32,
    warden: Pid,
    serve: impl FnOnce(ServerSide) -> i32,
) -> i32 {
    match drop_everything(&side, stage, pivots, uid, warden) {
        // Runs what is registered to run at the end, which the warden's other children must not.
        Ok(()) => std::process::exit(serve(side)),
        Err((what, error)) => {
            tracing::error!(%error, "the server could not be started: {what}");
            FAILED
        }
    }
}

type Failure = (&'static str, io::Error);

fn drop_everything(side: &ServerSide, stage: &Stage, pivots: bool, uid: u32, warden: Pid) -> Result<(), Failure> {
    let at = |what: &'static str| move |error: io::Error| (what, error);
    // A terminal's Ctrl-C goes to the warden, which passes it on.
    rustix::process::setpgid(None, None).map_err(|error| ("its process group", error.into()))?;
    signal::unblock().map_err(at("its signals"))?;
    root(&side.data, &stage.mount_point, pivots).map_err(at("its root"))?;
    let drop_rights = || -> rustix::io::Result<()> {
        rustix::thread::set_thread_groups(&[])?;
        become_user(uid, uid)?;
        rustix::thread::set_no_new_privs(true)?;
        rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
        // A change of user clears the death signal, so it comes last.
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
    };
    drop_rights().map_err(|error| ("its rights", error.into()))?;
    if rustix::process::getppid() == Some(warden) {
        Ok(())
    } else {
        Err(("the warden has ended", io::ErrorKind::BrokenPipe.into()))
    }
}

fn root(data: &Path, mount_point: &Path, pivots: bool) -> io::Result<()> {
    unshare(Namespaces::MOUNT)?;
    let root = new_file_system("tmpfs", &[("size", "1m"), ("mode", "0755")])?;
    attach_as_is(&root, mount_point)?;
    let below = |path: &Path| mount_point.join(path.strip_prefix("/").unwrap_or(path));
    for path in SEEN.iter().map(Path::new).filter(|path| path.exists()) {
        show(path, &below(path), READ_ONLY)?;
    }
    for device in ["/dev/null", "/dev/urandom"] {
        // Device nodes must stay openable in these two mounts.
        show(Path::new(device), &below(Path::new(device)), Restrictions::NO_SETUID)?;
    }
    // For what libraries put aside for a moment, such as SQLite's large sorts.
    let tmp = below(Path::new("/tmp"));
    make_folders(&tmp)?;
    let files = new_file_system("tmpfs", &[("size", "64m"), ("nr_inodes", "1024"), ("mode", "1777")])?;
    attach(&files, TAME.and(Restrictions::NO_EXECUTION), false, &tmp)?;
    let proc = below(Path::new("/proc"));
    make_folders(&proc)?;
    let files = new_file_system("proc", &[("hidepid", "2")])?;
    attach(&files, READ_ONLY.and(Restrictions::NO_EXECUTION), false, &proc)?;
    let target = below(data);
    make_folders(&target)?;
    attach(
        &copy_of(data, true)?,
        TAME.and(Restrictions::NO_EXECUTION),
        true,
        &target,
    )?;
    ephyra_sys::mount::restrict(std::os::fd::AsFd::as_fd(&root), READ_ONLY, false)?;
    enter(mount_point, pivots)
}

fn show(host: &Path, target: &Path, restrictions: Restrictions) -> io::Result<()> {
    if host.is_dir() {
        make_folders(target)?;
    } else {
        make_folders(target.parent().unwrap_or(target))?;
        File::create(target)?;
    }
    attach(
        &copy_of(host, true)?,
        restrictions,
        fs::metadata(host)?.is_dir(),
        target,
    )
}
