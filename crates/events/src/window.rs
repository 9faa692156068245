//! How many events may run at once: up by one with each that ran, halved when the machine or the account is full.

/// Even a full machine is tried with this many, for another function may have room.
const LEAST: usize = 4;

/// The number of events that may run at once now.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    size: usize,
    max: usize,
}

impl Window {
    /// A window that is fully open.
    pub(crate) fn new(max: usize) -> Self {
        let max = max.max(1);
        Self { size: max, max }
    }

    /// Events that may run at once.
    pub(crate) const fn size(self) -> usize {
        self.size
    }

    /// An event was run.
    pub(crate) fn open(&mut self) {
        self.size = self.max.min(self.size + 1);
    }

    /// There was no room for an event.
    pub(crate) fn close(&mut self) {
        self.size = (self.size / 2).max(LEAST.min(self.max));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_machine_closes_it_and_success_opens_it_again() {
        let mut window = Window::new(100);
        window.close();
        assert_eq!(window.size(), 50);
        (0..10).for_each(|_| window.close());
        assert_eq!(window.size(), LEAST);
        (0..200).for_each(|_| window.open());
        assert_eq!(window.size(), 100);
        let mut one = Window::new(0);
        one.close();
        assert_eq!(one.size(), 1);
    }
}
