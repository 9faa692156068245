//! What can be seen of the scheduler from outside.

use ephyra_core::id::FunctionName;

use super::{Phase, Scheduler};

/// The scheduler at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Whether invocations are refused because the platform goes down.
    pub is_draining: bool,
    /// Invocations that were admitted and are not over.
    pub in_flight: u32,
    /// How many there may be.
    pub account_concurrency: u32,
    /// Invocations that wait for an environment.
    pub waiting: usize,
    /// Environments without an invocation, frozen or not.
    pub idle: u32,
    /// Environments with an invocation.
    pub busy: u32,
    /// Environments that are being started.
    pub starting: u32,
    /// Environments that are being ended.
    pub ending: u32,
    /// Memory that environments reserve, in MB.
    pub memory_reserved_mb: u64,
    /// Memory that they may reserve, in MB.
    pub memory_limit_mb: u64,
    /// Functions with an environment, an invocation, a provision or a reservation, by name.
    pub functions: Vec<FunctionSnapshot>,
}

/// A function at one moment, its revisions taken together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionSnapshot {
    /// Its name.
    pub function: FunctionName,
    /// Invocations that were admitted and are not over.
    pub in_flight: u32,
    /// Those of them that wait for an environment.
    pub waiting: usize,
    /// Environments without an invocation.
    pub idle: u32,
    /// Environments with an invocation.
    pub busy: u32,
    /// Environments that are being started.
    pub starting: u32,
    /// Reserved concurrency.
    pub reserved: Option<u32>,
    /// Environments that are kept started.
    pub provisioned: u32,
}

impl Scheduler {
    /// What can be seen now.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let mut functions: Vec<_> = self
            .functions
            .iter()
            .map(|(name, function)| {
                let pools = || function.pools.iter().filter_map(|revision| self.pools.get(revision));
                FunctionSnapshot {
                    function: name.clone(),
                    in_flight: function.in_flight,
                    waiting: function.waiting,
                    idle: pools().map(|pool| pool.counts.idle + pool.counts.parking).sum(),
                    busy: pools().map(|pool| pool.counts.busy).sum(),
                    starting: pools().map(|pool| pool.counts.starting).sum(),
                    reserved: function.reserved,
                    provisioned: pools().map(|pool| pool.provisioned).sum(),
                }
            })
            .collect();
        functions.sort_unstable_by(|one, other| one.function.cmp(&other.function));
        Snapshot {
            is_draining: self.phase != Phase::Serving,
            in_flight: self.account.in_flight(),
            account_concurrency: self.account.limit(),
            waiting: self.waiting,
            idle: self.counts.idle + self.counts.parking,
            busy: self.counts.busy,
            starting: self.counts.starting,
            ending: self.counts.ending,
            memory_reserved_mb: self.reserved_mb,
            memory_limit_mb: self.options.memory_mb,
            functions,
        }
    }
}
