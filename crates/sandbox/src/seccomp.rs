//! The system call filter of guests: a few small programs for the kernel, compiled once from the lists in [`allowed`].
//! See seccomp(2).

#[rustfmt::skip] // One call a line would make a list that nobody reads.
mod allowed;

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch, sock_filter,
};

use allowed::{ALLOWED, CLONE_NAMESPACES, Group, NETLINK_PROTOCOLS, PRCTL_OPTIONS, REFUSED, REFUSED_IOCTLS, SOCKETS};

/// The compiled filter. The kernel runs all of its programs on each call and takes the strictest answer.
#[derive(Clone, Debug)]
pub(crate) struct Filter {
    programs: Vec<BpfProgram>,
}

/// Why the filter could not be compiled or applied.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FilterError {
    /// There is no list for this processor.
    #[error("there is no system call filter for this processor ({})", std::env::consts::ARCH)]
    Processor,
    /// The lists do not make a program.
    #[error("the system call filter could not be compiled")]
    Compile(#[source] seccompiler::BackendError),
    /// The kernel does not take it.
    #[error("the kernel refused the system call filter")]
    Apply(#[source] seccompiler::Error),
}

impl Filter {
    /// Compiles the lists.
    pub(crate) fn compile() -> Result<Self, FilterError> {
        let arch = TargetArch::try_from(std::env::consts::ARCH).map_err(|_| FilterError::Processor)?;
        let program = |rules, otherwise, when_matched| {
            SeccompFilter::new(rules, otherwise, when_matched, arch)
                .and_then(BpfProgram::try_from)
                .map_err(FilterError::Compile)
        };
        let refused = numbers(REFUSED).map(|call| (call, Vec::new())).collect();
        let mut allowed = allowed_rules().map_err(FilterError::Compile)?;
        // Of two equally strict answers the kernel takes the later program's: it must leave these to the earlier one.
        allowed.extend(numbers(REFUSED).map(|call| (call, Vec::new())));
        let mut programs = Vec::new();
        programs.extend(kill_x32());
        programs.push(program(refused, SeccompAction::Allow, SeccompAction::Errno(EPERM))?);
        // The last: it no longer allows the call that applies a filter.
        programs.push(program(allowed, SeccompAction::Errno(ENOSYS), SeccompAction::Allow)?);
        Ok(Self { programs })
    }

    /// Puts this process under the filter, for ever and with all that it starts. Sets `no_new_privs` too.
    pub(crate) fn apply(&self) -> Result<(), FilterError> {
        self.programs
            .iter()
            .try_for_each(|program| seccompiler::apply_filter(program).map_err(FilterError::Apply))
    }
}

const EPERM: u32 = libc::EPERM.unsigned_abs();
const ENOSYS: u32 = libc::ENOSYS.unsigned_abs();

fn numbers(groups: &[Group]) -> impl Iterator<Item = i64> {
    groups.iter().flat_map(|group| group.calls).copied()
}

fn allowed_rules() -> Result<BTreeMap<i64, Vec<SeccompRule>>, seccompiler::BackendError> {
    let is = |argument, value: libc::c_int| {
        let value = u64::from(value.unsigned_abs());
        SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value)
    };
    let masked = |argument, mask, value: u64| {
        SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::MaskedEq(mask), value)
    };

    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = numbers(ALLOWED).map(|call| (call, Vec::new())).collect();
    rules.insert(
        libc::SYS_clone,
        vec![SeccompRule::new(vec![masked(0, CLONE_NAMESPACES, 0)?])?],
    );

    let options = PRCTL_OPTIONS
        .iter()
        .map(|&option| SeccompRule::new(vec![is(0, option)?]));
    rules.insert(libc::SYS_prctl, options.collect::<Result<_, _>>()?);

    // The low four bits of a type are the type, the others SOCK_NONBLOCK and SOCK_CLOEXEC.
    let kind = |kind: libc::c_int| masked(1, 0xF, u64::from(kind.unsigned_abs()));
    let mut sockets = Vec::new();
    for &(domain, of_kind) in SOCKETS {
        sockets.push(SeccompRule::new(vec![is(0, domain)?, kind(of_kind)?])?);
    }
    for &protocol in NETLINK_PROTOCOLS {
        let conditions = vec![is(0, libc::AF_NETLINK)?, kind(libc::SOCK_RAW)?, is(2, protocol)?];
        sockets.push(SeccompRule::new(conditions)?);
    }
    rules.insert(libc::SYS_socket, sockets);

    let others = REFUSED_IOCTLS
        .iter()
        .map(|&request| SeccompCondition::new(1, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, request));
    rules.insert(
        libc::SYS_ioctl,
        vec![SeccompRule::new(others.collect::<Result<_, _>>()?)?],
    );

    // What glibc and the JVM ask for: the default persona, and what it is now.
    let personas = [0, 0xFFFF_FFFF].map(|persona| {
        let is_it = SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, persona)?;
        SeccompRule::new(vec![is_it])
    });
    rules.insert(libc::SYS_personality, personas.into_iter().collect::<Result<_, _>>()?);
    Ok(rules)
}

/// Kills who calls by the x32 numbers: on x86-64 they pass as the same architecture, with bit 30 set. Other foreign
/// architectures are killed by the compiled programs themselves.
fn kill_x32() -> Option<BpfProgram> {
    const X32: u32 = 0x4000_0000;
    /// The offset of the number in `seccomp_data`.
    const NUMBER: u32 = 0;
    if std::env::consts::ARCH != "x86_64" {
        return None;
    }
    let instruction = |code: u32, jt, jf, k| u16::try_from(code).ok().map(|code| sock_filter { code, jt, jf, k });
    [
        instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, NUMBER),
        instruction(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K, 0, 1, X32),
        instruction(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_KILL_PROCESS),
        instruction(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ]
    .into_iter()
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lists_compile_and_every_group_has_its_reason() {
        assert!(Filter::compile().is_ok());
        assert!(ALLOWED.iter().chain(REFUSED).all(|group| !group.reason.is_empty()));
    }

    #[test]
    fn no_call_is_both_allowed_and_refused() {
        let rules = allowed_rules().unwrap();
        for call in numbers(REFUSED) {
            assert!(!rules.contains_key(&call), "{call}");
        }
        for call in [libc::SYS_clone3, libc::SYS_io_uring_setup, libc::SYS_io_uring_enter] {
            assert!(!rules.contains_key(&call), "{call} must not exist for guests");
        }
    }
}
