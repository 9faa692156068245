//! Sums over all functions, kept in memory and counted anew at each start.

use std::collections::HashMap;

use ephyra_core::id::FunctionName;
use ephyra_core::limits;
use parking_lot::Mutex;

/// The sums of an account.
#[derive(Debug, Default)]
pub(crate) struct Totals(Mutex<Sums>);

#[derive(Debug, Default)]
struct Sums {
    functions: u64,
    code_bytes: u64,
    reserved: HashMap<FunctionName, u32>,
    /// Provisioned environments by function and qualifier.
    provisioned: HashMap<(FunctionName, String), u32>,
}

impl Totals {
    pub(crate) fn add_function(&self) {
        self.0.lock().functions += 1;
    }

    /// Forgets a function and its reservations; its code is counted by [`Totals::remove_code`].
    pub(crate) fn remove_function(&self, name: &FunctionName) {
        let mut sums = self.0.lock();
        sums.functions = sums.functions.saturating_sub(1);
        sums.reserved.remove(name);
        sums.provisioned.retain(|(function, _), _| function != name);
    }

    pub(crate) fn functions(&self) -> u64 {
        self.0.lock().functions
    }

    /// Counts a zip, once for each version or layer version that has it.
    pub(crate) fn add_code(&self, bytes: u64) {
        self.0.lock().code_bytes += bytes;
    }

    pub(crate) fn remove_code(&self, bytes: u64) {
        let mut sums = self.0.lock();
        sums.code_bytes = sums.code_bytes.saturating_sub(bytes);
    }

    pub(crate) fn code_bytes(&self) -> u64 {
        self.0.lock().code_bytes
    }

    pub(crate) fn set_reserved(&self, name: &FunctionName, limit: Option<u32>) {
        let mut sums = self.0.lock();
        match limit {
            Some(limit) => sums.reserved.insert(name.clone(), limit),
            None => sums.reserved.remove(name),
        };
    }

    pub(crate) fn set_provisioned(&self, name: &FunctionName, qualifier: &str, count: Option<u32>) {
        let mut sums = self.0.lock();
        let key = (name.clone(), qualifier.to_owned());
        match count {
            Some(count) => sums.provisioned.insert(key, count),
            None => sums.provisioned.remove(&key),
        };
    }

    /// What a function has provisioned, the qualifier `except` left out.
    pub(crate) fn provisioned_of(&self, name: &FunctionName, except: &str) -> u32 {
        self.0
            .lock()
            .provisioned
            .iter()
            .filter(|((function, qualifier), _)| function == name && qualifier != except)
            .fold(0, |sum, (_, count)| sum.saturating_add(*count))
    }

    /// What of `account` no function has reserved or provisioned, as if `name` had nothing.
    pub(crate) fn unreserved(&self, account: u32, name: Option<&FunctionName>) -> u32 {
        let sums = self.0.lock();
        let reserved = sums.reserved.iter().filter(|(function, _)| Some(*function) != name);
        // What a function provisions comes out of what it has reserved, if it has.
        let provisioned = sums
            .provisioned
            .iter()
            .filter(|((function, _), _)| Some(function) != name && !sums.reserved.contains_key(function));
        let taken = reserved
            .map(|(_, count)| *count)
            .chain(provisioned.map(|(_, count)| *count))
            .fold(0, u32::saturating_add);
        account.saturating_sub(taken)
    }

    /// The least that must stay unreserved.
    pub(crate) const fn least_unreserved() -> u32 {
        limits::UNRESERVED_CONCURRENCY
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reservations_add_up() {
        let totals = Totals::default();
        let (f, g): (FunctionName, FunctionName) = ("f".parse().unwrap(), "g".parse().unwrap());
        totals.set_reserved(&f, Some(100));
        totals.set_provisioned(&f, "1", Some(50));
        totals.set_provisioned(&g, "1", Some(10));
        assert_eq!(totals.unreserved(1000, None), 890);
        assert_eq!(totals.unreserved(1000, Some(&f)), 990);
        assert_eq!(totals.provisioned_of(&f, "2"), 50);
        assert_eq!(totals.provisioned_of(&f, "1"), 0);
        totals.set_reserved(&f, None);
        assert_eq!(totals.unreserved(1000, None), 940);
        totals.remove_function(&f);
        assert_eq!(totals.unreserved(1000, None), 990);
    }
}
