//! The system call filter of guests: a program for the kernel, compiled once from the lists in [`allowed`].
//! See seccomp(2).

#[rustfmt::skip] // One call a line would make a list that nobody reads.
mod allowed;
mod program;

use std::collections::BTreeMap;

use seccompiler::{BpfProgram, sock_filter};

use allowed::{ALLOWED, CLONE_NAMESPACES, Group, NETLINK_PROTOCOLS, PRCTL_OPTIONS, REFUSED, REFUSED_IOCTLS, SOCKETS};
use program::{Condition, ProgramError, Verdict};

/// The compiled filter.
#[derive(Clone, Debug)]
pub(crate) struct Filter {
    program: BpfProgram,
}

/// Why the filter could not be compiled or applied.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FilterError {
    /// There is no list for this processor.
    #[error("there is no system call filter for this processor ({})", std::env::consts::ARCH)]
    Processor,
    /// The lists do not make a program.
    #[error("the system call filter could not be compiled")]
    Compile(#[source] ProgramError),
    /// The kernel does not take it.
    #[error("the kernel refused the system call filter")]
    Apply(#[source] seccompiler::Error),
}

impl Filter {
    /// Compiles the lists.
    pub(crate) fn compile() -> Result<Self, FilterError> {
        let architecture = architecture().ok_or(FilterError::Processor)?;
        let program = program::compile(architecture, &verdicts()).map_err(FilterError::Compile)?;
        Ok(Self { program })
    }

    /// Puts this process under the filter, for ever and with all that it starts. Sets `no_new_privs` too.
    pub(crate) fn apply(&self) -> Result<(), FilterError> {
        seccompiler::apply_filter(&self.program).map_err(FilterError::Apply)
    }

    /// The program as the kernel takes it, `struct sock_filter` in this machine's byte order: for a process that is not
    /// a copy of this one and applies it itself.
    pub(crate) fn encoded(&self) -> Vec<u8> {
        let encode = |instruction: &sock_filter| {
            let [a, b] = instruction.code.to_ne_bytes();
            let [c, d, e, f] = instruction.k.to_ne_bytes();
            [a, b, instruction.jt, instruction.jf, c, d, e, f]
        };
        self.program.iter().flat_map(encode).collect()
    }
}

/// `AUDIT_ARCH_*` of linux/audit.h.
fn architecture() -> Option<u32> {
    match std::env::consts::ARCH {
        "x86_64" => Some(0xC000_003E),
        "aarch64" => Some(0xC000_00B7),
        _ => None,
    }
}

const EPERM: u32 = libc::EPERM.unsigned_abs();
const ENOSYS: u32 = libc::ENOSYS.unsigned_abs();
/// What is set in the numbers of x32, which pass as the same architecture as those of x86-64.
const X32: u32 = 0x4000_0000;

fn numbers(groups: &[Group]) -> impl Iterator<Item = u32> {
    groups
        .iter()
        .flat_map(|group| group.calls)
        .filter_map(|&call| u32::try_from(call).ok())
}

/// What becomes of each call: a verdict holds from its number on to the next.
fn verdicts() -> BTreeMap<u32, Verdict> {
    let mut calls: BTreeMap<u32, Verdict> = numbers(REFUSED).map(|call| (call, Verdict::Fail(EPERM))).collect();
    calls.extend(numbers(ALLOWED).map(|call| (call, Verdict::Allow)));
    calls.extend(conditional());
    let mut verdicts: BTreeMap<u32, Verdict> = [(0, Verdict::Fail(ENOSYS))].into();
    let mut next = 0;
    for (call, verdict) in calls {
        if call != next {
            verdicts.insert(next, Verdict::Fail(ENOSYS));
        }
        next = call + 1;
        verdicts.insert(call, verdict);
    }
    verdicts.insert(next, Verdict::Fail(ENOSYS));
    if std::env::consts::ARCH == "x86_64" {
        verdicts.insert(X32, Verdict::Kill);
    }
    let mut last = None;
    verdicts.retain(|_, verdict| last.replace(verdict.clone()).as_ref() != Some(verdict));
    verdicts
}

/// The calls that are allowed with some arguments alone.
fn conditional() -> impl Iterator<Item = (u32, Verdict)> {
    let masked = |argument, mask, value| Condition {
        argument,
        mask,
        value,
        is_equal: true,
    };
    let is = move |argument, value: libc::c_int| masked(argument, u32::MAX, value.cast_unsigned());

    let options = PRCTL_OPTIONS.iter().map(|&option| vec![is(0, option)]).collect();

    // The low four bits of a type are the type, the others SOCK_NONBLOCK and SOCK_CLOEXEC.
    let kind = |kind: libc::c_int| masked(1, 0xF, kind.cast_unsigned());
    let sockets = SOCKETS
        .iter()
        .map(|&(domain, of_kind)| vec![is(0, domain), kind(of_kind)]);
    let netlink = NETLINK_PROTOCOLS
        .iter()
        .map(|&protocol| vec![is(0, libc::AF_NETLINK), kind(libc::SOCK_RAW), is(2, protocol)]);

    let others = REFUSED_IOCTLS.iter().map(|&request| Condition {
        is_equal: false,
        ..masked(1, u32::MAX, request)
    });

    [
        (libc::SYS_clone, vec![vec![masked(0, CLONE_NAMESPACES, 0)]]),
        (libc::SYS_prctl, options),
        (libc::SYS_socket, sockets.chain(netlink).collect()),
        (libc::SYS_ioctl, vec![others.collect()]),
        // What glibc and the JVM ask for: the default persona, and what it is now.
        (libc::SYS_personality, vec![vec![is(0, 0)], vec![is(0, -1)]]),
    ]
    .into_iter()
    .filter_map(|(call, ways)| Some((u32::try_from(call).ok()?, Verdict::AllowIf(ways, ENOSYS))))
}

#[cfg(test)]
mod tests {
    use super::program::tests::run;
    use super::*;

    #[test]
    fn the_lists_compile_and_every_group_has_its_reason() {
        assert!(Filter::compile().is_ok());
        assert!(ALLOWED.iter().chain(REFUSED).all(|group| !group.reason.is_empty()));
    }

    #[test]
    fn no_call_is_both_allowed_and_refused() {
        let allowed: Vec<u32> = numbers(ALLOWED).chain(conditional().map(|(call, _)| call)).collect();
        for call in numbers(REFUSED) {
            assert!(!allowed.contains(&call), "{call}");
        }
        for call in [libc::SYS_clone3, libc::SYS_io_uring_setup, libc::SYS_io_uring_enter] {
            let call = u32::try_from(call).unwrap();
            assert!(!allowed.contains(&call), "{call} must not exist for guests");
        }
    }

    const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
    const UNKNOWN: u32 = libc::SECCOMP_RET_ERRNO | ENOSYS;

    #[test]
    fn every_call_has_the_verdict_of_its_list() {
        let filter = Filter::compile().unwrap();
        let conditional: Vec<u32> = conditional().map(|(call, _)| call).collect();
        let (allowed, refused): (Vec<u32>, Vec<u32>) = (numbers(ALLOWED).collect(), numbers(REFUSED).collect());
        for call in (0..2048).chain([X32 - 1, X32, X32 + 1, u32::MAX]) {
            let want = match call {
                X32.. if std::env::consts::ARCH == "x86_64" => libc::SECCOMP_RET_KILL_PROCESS,
                _ if allowed.contains(&call) => ALLOW,
                _ if refused.contains(&call) => libc::SECCOMP_RET_ERRNO | EPERM,
                _ if conditional.contains(&call) => continue,
                _ => UNKNOWN,
            };
            let (verdict, steps) = run(&filter.program, architecture().unwrap(), call, [0; 6]);
            assert_eq!(verdict, want, "{call}");
            assert!(steps < 20, "{call} takes {steps} steps");
        }
        assert!(filter.program.len() < 600, "{} instructions", filter.program.len());
    }

    #[track_caller]
    fn check(call: libc::c_long, arguments: [i64; 3], is_allowed: bool) {
        let filter = Filter::compile().unwrap();
        let [a, b, c] = arguments.map(|argument| (argument & 0xFFFF_FFFF) as u32);
        let call = u32::try_from(call).unwrap();
        let (verdict, _) = run(&filter.program, architecture().unwrap(), call, [a, b, c, 0, 0, 0]);
        assert_eq!(verdict, if is_allowed { ALLOW } else { UNKNOWN });
    }

    #[test]
    fn arguments_decide_where_they_should() {
        let thread = libc::CLONE_VM | libc::CLONE_FS | libc::CLONE_FILES | libc::CLONE_SIGHAND | libc::CLONE_THREAD;
        check(libc::SYS_clone, [thread.into(), 0, 0], true);
        for kind in [libc::CLONE_NEWUSER, libc::CLONE_NEWNS, libc::CLONE_NEWNET] {
            check(libc::SYS_clone, [(libc::SIGCHLD | kind).into(), 0, 0], false);
        }
        check(libc::SYS_prctl, [libc::PR_SET_NAME.into(), 0, 0], true);
        check(libc::SYS_prctl, [libc::PR_GET_SECCOMP.into(), 0, 0], true);
        check(libc::SYS_prctl, [libc::PR_SET_MM.into(), 0, 0], false);
        check(libc::SYS_prctl, [libc::PR_CAPBSET_DROP.into(), 0, 0], false);
        let stream = i64::from(libc::SOCK_STREAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK);
        for (domain, is_allowed) in [(libc::AF_UNIX, true), (libc::AF_INET6, true), (libc::AF_PACKET, false)] {
            check(libc::SYS_socket, [domain.into(), stream, 0], is_allowed);
        }
        check(
            libc::SYS_socket,
            [libc::AF_INET.into(), libc::SOCK_RAW.into(), 0],
            false,
        );
        let netlink = i64::from(libc::AF_NETLINK);
        check(
            libc::SYS_socket,
            [netlink, libc::SOCK_RAW.into(), libc::NETLINK_ROUTE.into()],
            true,
        );
        check(libc::SYS_socket, [netlink, libc::SOCK_RAW.into(), 9], false);
        check(
            libc::SYS_socket,
            [netlink, libc::SOCK_DGRAM.into(), libc::NETLINK_ROUTE.into()],
            false,
        );
        check(libc::SYS_ioctl, [0, 0x5401, 0], true);
        check(libc::SYS_ioctl, [0, 0x5412, 0], false);
        check(libc::SYS_ioctl, [0, 0x541C, 0], false);
        check(libc::SYS_personality, [0, 0, 0], true);
        check(libc::SYS_personality, [0xFFFF_FFFF, 0, 0], true);
        check(libc::SYS_personality, [0x4_0000, 0, 0], false);
    }
}
