//! Tries each piece for real, in a child of its own, and leaves nothing behind.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use ephyra_sys::clone::{CloneError, Namespaces, clone};
use rustix::process::{WaitOptions, waitpid};

use super::{Finding, Piece, Report};
use crate::build::{Reach, become_user, enter, landlock};
use crate::cgroup::{Controllers, Layout};
use crate::mount::{READ_ONLY, attach, copy_of, new_file_system};
use crate::seccomp::Filter;
use crate::warden::{STAGE, Users, leave_mounts, probe_tmp, user_namespace};

/// Tries every piece of isolation; those in `weaker` are reported as not used. Takes some milliseconds. To be called
/// by root, in a process with one thread: without either, most pieces are reported as not working.
pub fn check(weaker: &BTreeSet<Piece>, uid_base: u32) -> Report {
    let findings = Piece::ALL.iter().map(|&piece| Finding {
        piece,
        failure: try_piece(piece, uid_base).err().map(|error| error.to_string()),
        is_used: !weaker.contains(&piece),
    });
    Report {
        findings: findings.collect(),
        tmp: probe_tmp(),
    }
}

/// The controllers that the pieces stand for.
pub(crate) fn controllers(pieces: &BTreeSet<Piece>) -> Controllers {
    Controllers {
        memory: pieces.contains(&Piece::CgroupMemory),
        cpu: pieces.contains(&Piece::CgroupCpu),
        pids: pieces.contains(&Piece::CgroupPids),
        freezer: pieces.contains(&Piece::CgroupFreezer),
    }
}

fn try_piece(piece: Piece, uid_base: u32) -> io::Result<()> {
    match piece {
        Piece::UserNamespace => user_namespace(uid_base).map(drop),
        Piece::MountNamespace => in_child(Namespaces::MOUNT, || Ok(())),
        Piece::PidNamespace => in_child(Namespaces::PID, || Ok(())),
        Piece::NetworkNamespace => in_child(Namespaces::NETWORK, ephyra_sys::network::raise_loopback),
        Piece::IpcNamespace => in_child(Namespaces::IPC, || Ok(())),
        Piece::UtsNamespace => in_child(Namespaces::UTS, || ephyra_sys::namespace::set_host_name("probe")),
        Piece::CgroupNamespace => in_child(Namespaces::CGROUP, || Ok(())),
        Piece::PivotRoot => in_child(Namespaces::none(), || {
            leave_mounts()?;
            let stage = Path::new(STAGE);
            attach(&new_file_system("tmpfs", &[])?, READ_ONLY, false, stage)?;
            enter(stage, true)
        }),
        Piece::Seccomp => in_child(Namespaces::none(), seccomp),
        Piece::Landlock => in_child(Namespaces::none(), || {
            // Landlock asks for one of the two from whoever has no privileges, which is what it is used by.
            rustix::thread::set_no_new_privs(true)?;
            landlock(Reach::Own).map_err(io::Error::other)?;
            refused(fs::write("/etc/.ephyra-probe", ""))
        }),
        Piece::NoNewPrivileges => in_child(Namespaces::none(), || Ok(rustix::thread::set_no_new_privs(true)?)),
        Piece::CgroupMemory => has(|found| found.memory),
        Piece::CgroupCpu => has(|found| found.cpu),
        Piece::CgroupPids => has(|found| found.pids),
        Piece::CgroupFreezer => has(|found| found.freezer),
        Piece::Overlayfs => in_child(Namespaces::none(), overlayfs),
        Piece::OwnUsers => in_child(Namespaces::none(), || {
            let users = Users::new(uid_base, &BTreeSet::new()).ok_or(io::ErrorKind::InvalidInput)?;
            let uid = users.of_slot(0);
            rustix::thread::set_thread_groups(&[])?;
            Ok(become_user(uid, uid)?)
        }),
        Piece::MountApi => in_child(Namespaces::none(), || {
            leave_mounts()?;
            let mount = new_file_system("tmpfs", &[("size", "1m"), ("mode", "0755")])?;
            attach(&mount, READ_ONLY, true, Path::new(STAGE))?;
            ephyra_sys::mount::restrict(copy_of(Path::new(STAGE), true)?.as_fd(), READ_ONLY, true)
        }),
    }
}

/// Runs `body` in a child in new namespaces; its error comes back as the child's status.
fn in_child(namespaces: Namespaces, body: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    /// The status of an error that has no number; above all numbers of Linux.
    const OTHER: i32 = 200;
    let pid = clone(namespaces, None, || match body() {
        Ok(()) => 0,
        Err(error) => error.raw_os_error().unwrap_or(OTHER),
    })
    .map_err(|error| match error {
        CloneError::Call(error) => error,
        other => io::Error::other(other),
    })?;
    let waited = rustix::io::retry_on_intr(|| waitpid(Some(pid), WaitOptions::empty()))?;
    match waited.and_then(|(_, status)| status.exit_status()) {
        Some(0) => Ok(()),
        Some(errno @ 1..OTHER) if errno < 134 => Err(io::Error::from_raw_os_error(errno)),
        _ => Err(io::Error::other("a trial of it failed")),
    }
}

/// Applies the filter that guests get and sees that it refuses.
fn seccomp() -> io::Result<()> {
    rustix::thread::set_no_new_privs(true)?;
    Filter::compile()
        .and_then(|filter| filter.apply())
        .map_err(io::Error::other)?;
    refused(ephyra_sys::namespace::unshare(Namespaces::UTS))
}

fn refused(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        _ => Err(io::Error::other("it does not refuse what it should")),
    }
}

fn overlayfs() -> io::Result<()> {
    leave_mounts()?;
    let stage = Path::new(STAGE);
    attach(&new_file_system("tmpfs", &[])?, crate::mount::TAME, false, stage)?;
    let [lower, upper] = ["a", "b"].map(|name| stage.join(name));
    fs::create_dir(&lower)?;
    fs::create_dir(&upper)?;
    let folders = format!("{}:{}", upper.display(), lower.display());
    new_file_system("overlay", &[("lowerdir", &folders)]).map(drop)
}

fn has(is_there: impl FnOnce(Controllers) -> bool) -> io::Result<()> {
    let all = Controllers {
        memory: true,
        cpu: true,
        pids: true,
        freezer: true,
    };
    if is_there(Layout::read()?.found(all)) {
        Ok(())
    } else {
        Err(io::Error::new(io::ErrorKind::NotFound, "the controller is not mounted"))
    }
}
