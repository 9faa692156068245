//! The pieces that a guest's isolation is made of, and whether this kernel gives them.
//!
//! Nothing is weakened silently: a piece that is missing keeps the platform from starting, unless the operator names
//! it as one to go without. A piece so named is not used at all, whether it would work or not.

mod probe;

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

pub use probe::check;
pub(crate) use probe::controllers;

macro_rules! pieces {
    ($($(#[$doc:meta])* $piece:ident = $name:literal, $advice:literal;)*) => {
        /// A piece of isolation.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        pub enum Piece { $($(#[$doc])* $piece),* }

        impl Piece {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$piece),*];

            /// Its name, as `--allow-weaker-isolation` takes it.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$piece => $name),* }
            }

            /// What to do when it is missing.
            pub const fn advice(self) -> &'static str {
                match self { $(Self::$piece => $advice),* }
            }
        }
    };
}

pieces! {
    /// Guests' users are nobody outside.
    UserNamespace = "user-namespace", "needs CONFIG_USER_NS and a user.max_user_namespaces above 0";
    /// Guests have a root of their own.
    MountNamespace = "mount-namespace", "run with CAP_SYS_ADMIN (in a container: privileged)";
    /// Guests see only their own processes, which end together.
    PidNamespace = "pid-namespace", "needs CONFIG_PID_NS";
    /// Guests have a network of their own, with nothing in it.
    NetworkNamespace = "network-namespace", "needs CONFIG_NET_NS";
    /// Guests share no System V IPC.
    IpcNamespace = "ipc-namespace", "needs CONFIG_IPC_NS";
    /// Guests have a host name of their own.
    UtsNamespace = "uts-namespace", "needs CONFIG_UTS_NS";
    /// Guests do not see where their group is.
    CgroupNamespace = "cgroup-namespace", "needs CONFIG_CGROUPS and Linux 4.6";
    /// The host's files are not merely out of sight but gone.
    PivotRoot = "pivot-root", "pivot_root(2) is refused when / is the initial ramdisk: start from a real root";
    /// Guests may make only the system calls on a list.
    Seccomp = "seccomp", "needs CONFIG_SECCOMP_FILTER, on x86-64 or aarch64";
    /// Guests may write only below /tmp, whatever else fails.
    Landlock = "landlock", "needs CONFIG_SECURITY_LANDLOCK, and landlock in the kernel's lsm= list";
    /// Guests gain nothing from set-user-id programs.
    NoNewPrivileges = "no-new-privileges", "needs Linux 3.5";
    /// Guests use no more than their memory.
    CgroupMemory = "cgroup-memory", "needs the memory controller (on some boards cgroup_enable=memory on the kernel's command line)";
    /// Guests use no more than their CPU.
    CgroupCpu = "cgroup-cpu", "needs the cpu controller (with version 1 also cpuacct)";
    /// Guests start no more than their processes.
    CgroupPids = "cgroup-pids", "needs the pids controller";
    /// Idle guests do not run.
    CgroupFreezer = "cgroup-freezer", "needs cgroups of version 2, or the freezer of version 1";
    /// Several layers can be shown as one folder.
    Overlayfs = "overlayfs", "needs CONFIG_OVERLAY_FS: modprobe overlay";
    /// Each guest has a user of its own, and so does the server.
    OwnUsers = "own-users", "choose another --uid-base; in a container, one that its user namespace maps";
    /// Roots are put together without being seen half done.
    MountApi = "mount-api", "needs Linux 5.12 (fsopen, open_tree, mount_setattr)";
}

impl Piece {
    /// Whether nothing can be built without it, so that no operator can choose to go without.
    pub const fn is_essential(self) -> bool {
        // Without the first three there is no root to run in, no way to end all of a guest, no way to build; and
        // without a network of its own each guest would need the same address as the others.
        matches!(
            self,
            Self::MountNamespace | Self::PidNamespace | Self::MountApi | Self::NetworkNamespace
        )
    }
}

impl fmt::Display for Piece {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that no piece of isolation has.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no piece of isolation; there are: {names}", names = names())]
pub struct ParsePieceError(String);

fn names() -> String {
    let names: Vec<_> = Piece::ALL.iter().map(|piece| piece.name()).collect();
    names.join(", ")
}

impl FromStr for Piece {
    type Err = ParsePieceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.iter().find(|piece| piece.name() == text);
        found
            .copied()
            .ok_or_else(|| ParsePieceError(text.chars().take(64).collect()))
    }
}

/// What was found out about one piece.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The piece.
    pub piece: Piece,
    /// Why it does not work here, if it does not.
    pub failure: Option<String>,
    /// Whether guests are built with it.
    pub is_used: bool,
}

/// Where guests' `/tmp` is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "place")]
pub enum TmpPlace {
    /// On the disk of the data folder, each with exactly its size, apart from memory.
    Disk,
    /// In memory, with its size: what a guest writes there counts against its memory as well.
    Memory {
        /// Why it cannot be on disk.
        why: String,
    },
}

/// Every piece, and whether it works here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// One for each piece, in their order.
    pub findings: Vec<Finding>,
    /// Where guests' `/tmp` is: information, as guests are isolated either way.
    pub tmp: TmpPlace,
}

/// Why guests cannot be isolated as asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IsolationError {
    /// A piece does not work and is not one to go without.
    #[error(
        "isolation is incomplete: {piece} does not work here ({failure}). {advice}{hint}",
        advice = piece.advice(),
        hint = hint(*piece)
    )]
    Missing {
        /// Which.
        piece: Piece,
        /// Why.
        failure: String,
    },
    /// A piece that nothing can be built without was named as one to go without.
    #[error("{0} cannot be given up: without it no function could run")]
    Essential(Piece),
}

fn hint(piece: Piece) -> String {
    if piece.is_essential() {
        String::new()
    } else {
        format!("; or start with --allow-weaker-isolation {piece}, and functions run without it")
    }
}

impl Report {
    /// The pieces that guests are built with, or why that would not be enough.
    pub fn require(&self) -> Result<BTreeSet<Piece>, IsolationError> {
        for finding in &self.findings {
            match &finding.failure {
                _ if !finding.is_used && finding.piece.is_essential() => {
                    return Err(IsolationError::Essential(finding.piece));
                }
                Some(failure) if finding.is_used => {
                    let failure = failure.clone();
                    return Err(IsolationError::Missing {
                        piece: finding.piece,
                        failure,
                    });
                }
                _ => {}
            }
        }
        Ok(self.used())
    }

    /// The pieces that guests are built with.
    pub fn used(&self) -> BTreeSet<Piece> {
        self.findings
            .iter()
            .filter(|finding| finding.is_used)
            .map(|finding| finding.piece)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(failed: &[Piece], weaker: &[Piece]) -> Report {
        let findings = Piece::ALL.iter().map(|&piece| Finding {
            piece,
            failure: failed.contains(&piece).then(|| "no".to_owned()),
            is_used: !weaker.contains(&piece),
        });
        Report {
            findings: findings.collect(),
            tmp: TmpPlace::Disk,
        }
    }

    #[test]
    fn a_missing_piece_is_named_with_what_to_do() {
        let error = report(&[Piece::Landlock], &[]).require().unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("landlock") && text.contains("--allow-weaker-isolation landlock"),
            "{text}"
        );
    }

    #[test]
    fn only_what_is_not_essential_can_be_given_up() {
        let used = report(&[Piece::Landlock], &[Piece::Landlock]).require().unwrap();
        assert_eq!(used.len(), Piece::ALL.len() - 1);
        let error = report(&[], &[Piece::PidNamespace]).require().unwrap_err();
        assert_eq!(error, IsolationError::Essential(Piece::PidNamespace));
    }

    #[test]
    fn names_read_back() {
        for piece in Piece::ALL {
            assert_eq!(piece.name().parse::<Piece>().ok(), Some(*piece));
        }
        assert!("Landlock".parse::<Piece>().is_err());
    }
}
