//! Which modules a host has mapped before their first call: those that were deployed last, within bounds.

use std::collections::VecDeque;

use crate::artefact::Artefact;

/// How many at once.
const MODULES: usize = 512;
/// How many bytes their files have together.
const BYTES: u64 = 64 << 20;

/// The modules that were foreseen last, in order; also those that have been called since.
#[derive(Debug, Default)]
pub(crate) struct Foreseen {
    queue: VecDeque<(Artefact, u64)>,
    bytes: u64,
}

impl Foreseen {
    /// Adds one whose file has so many bytes, and takes out what there is no room for any more: the oldest, or the new one
    /// itself.
    pub(crate) fn add(&mut self, artefact: Artefact, bytes: u64) -> Vec<Artefact> {
        self.queue.push_back((artefact, bytes));
        self.bytes = self.bytes.saturating_add(bytes);
        let mut gone = Vec::new();
        while (self.queue.len() > MODULES || self.bytes > BYTES)
            && let Some((oldest, bytes)) = self.queue.pop_front()
        {
            self.bytes = self.bytes.saturating_sub(bytes);
            gone.push(oldest);
        }
        gone
    }
}

#[cfg(test)]
mod tests {
    use ephyra_core::digest::Digest;
    use proptest::prelude::*;

    use super::*;

    fn artefact(number: usize) -> Artefact {
        let package = Digest::of(&number.to_le_bytes());
        Artefact {
            package,
            entry: package,
        }
    }

    #[test]
    fn the_oldest_go_first_and_what_is_too_large_does_not_stay() {
        let mut foreseen = Foreseen::default();
        for number in 0..MODULES {
            assert_eq!(foreseen.add(artefact(number), 1), []);
        }
        assert_eq!(foreseen.add(artefact(MODULES), 1), [artefact(0)]);
        let large = artefact(MODULES + 1);
        assert_eq!(foreseen.add(large, BYTES + 1).last(), Some(&large));
        assert_eq!((foreseen.queue.len(), foreseen.bytes), (0, 0));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn what_stays_is_bounded(sizes in proptest::collection::vec(0..BYTES, 0..40)) {
            let mut foreseen = Foreseen::default();
            let mut there = 0;
            for (number, bytes) in sizes.into_iter().enumerate() {
                there += 1;
                there -= foreseen.add(artefact(number), bytes).len();
                prop_assert!(foreseen.bytes <= BYTES && foreseen.queue.len() == there);
                prop_assert_eq!(foreseen.bytes, foreseen.queue.iter().map(|(_, bytes)| bytes).sum::<u64>());
            }
        }
    }
}
