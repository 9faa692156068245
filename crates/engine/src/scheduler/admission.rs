//! Who may run: the account's concurrency, what of it is reserved, and what is provisioned.
//! Source: <https://docs.aws.amazon.com/lambda/latest/dg/lambda-concurrency.html>.

use std::time::Instant;

use ephyra_core::id::{FunctionName, RevisionId};
use ephyra_core::invocation::ThrottleReason;
use ephyra_core::revision::Revision;

use super::Scheduler;
use super::pool::Function;

/// The account's concurrency.
pub(super) struct Account {
    limit: u32,
    /// The sum of all reservations.
    reserved: u64,
    /// What functions without a reservation take.
    unreserved_charge: u32,
    in_flight: u32,
}

impl Account {
    pub(super) const fn new(limit: u32) -> Self {
        Self {
            limit,
            reserved: 0,
            unreserved_charge: 0,
            in_flight: 0,
        }
    }

    pub(super) const fn in_flight(&self) -> u32 {
        self.in_flight
    }

    pub(super) const fn limit(&self) -> u32 {
        self.limit
    }
}

impl Scheduler {
    /// Whether one more invocation of `revision` may run beside those that do.
    pub(super) fn admits(&self, revision: &Revision) -> Result<(), ThrottleReason> {
        let is_set_aside = self
            .pools
            .get(&revision.id)
            .is_some_and(|pool| pool.in_flight < pool.provisioned);
        let function = self.functions.get(&revision.function);
        if let Some(function) = function
            && let Some(limit) = function.reserved
        {
            if function.in_flight >= limit || (!is_set_aside && function.charge >= limit) {
                return Err(ThrottleReason::ReservedFunctionConcurrentInvocationLimitExceeded);
            }
            return Ok(());
        }
        let unreserved = u64::from(self.account.limit).saturating_sub(self.account.reserved);
        if !is_set_aside && u64::from(self.account.unreserved_charge) >= unreserved {
            return Err(ThrottleReason::ConcurrentInvocationLimitExceeded);
        }
        Ok(())
    }

    /// Counts an invocation that was admitted.
    pub(super) fn enter(&mut self, revision: RevisionId, now: Instant) {
        self.account.in_flight += 1;
        if let Some(function) = self.recharge(revision, |in_flight, _| *in_flight += 1)
            && function.in_flight == 1
        {
            function.rhythm.begin(now);
        }
    }

    /// Counts an invocation as over.
    pub(super) fn leave(&mut self, revision: RevisionId, now: Instant) {
        self.account.in_flight -= 1;
        if let Some(function) = self.recharge(revision, |in_flight, _| *in_flight -= 1)
            && function.in_flight == 0
        {
            function.rhythm.rest(now);
        }
    }

    /// Changes a pool's invocations or provision, and what its function and the account are charged.
    pub(super) fn recharge(
        &mut self,
        revision: RevisionId,
        change: impl FnOnce(&mut u32, &mut u32),
    ) -> Option<&mut Function> {
        let pool = self.pools.get_mut(&revision)?;
        let (running, charge) = (pool.in_flight, pool.charge());
        change(&mut pool.in_flight, &mut pool.provisioned);
        let function = self.functions.get_mut(&pool.revision.function)?;
        function.in_flight = function.in_flight + pool.in_flight - running;
        function.charge = function.charge + pool.charge() - charge;
        if function.reserved.is_none() {
            self.account.unreserved_charge = self.account.unreserved_charge + pool.charge() - charge;
        }
        Some(function)
    }

    /// Reserves a part of the account's concurrency for a function, or gives it back.
    pub(crate) fn set_reserved(&mut self, name: &FunctionName, limit: Option<u32>) {
        self.function_mut(name);
        let Some(function) = self.functions.get_mut(name) else {
            return;
        };
        match function.reserved {
            Some(reserved) => self.account.reserved -= u64::from(reserved),
            None => self.account.unreserved_charge -= function.charge,
        }
        function.reserved = limit;
        match limit {
            Some(reserved) => self.account.reserved += u64::from(reserved),
            None => self.account.unreserved_charge += function.charge,
        }
        self.forget_function(name);
    }
}
