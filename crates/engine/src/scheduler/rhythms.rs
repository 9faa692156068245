//! The rhythms of functions that have nothing running: a table of bounded size.

use std::collections::HashMap;

use ephyra_core::id::FunctionName;

use super::rhythm::Rhythm;

/// Functions whose rhythm is remembered while nothing of them is there, at about 300 bytes each.
const FUNCTIONS: usize = 32_768;

/// Rhythms by function. Two generations stand in for a list of recent use: when the young one is full it becomes the
/// old one, and what the old one still held is forgotten.
#[derive(Default)]
pub(super) struct Rhythms {
    young: HashMap<FunctionName, Rhythm>,
    old: HashMap<FunctionName, Rhythm>,
}

impl Rhythms {
    /// Takes out what is known of a function.
    pub(super) fn take(&mut self, name: &FunctionName) -> Rhythm {
        self.young
            .remove(name)
            .or_else(|| self.old.remove(name))
            .unwrap_or_default()
    }

    /// What is known of a function.
    pub(super) fn get(&self, name: &FunctionName) -> Option<&Rhythm> {
        self.young.get(name).or_else(|| self.old.get(name))
    }

    /// Remembers a function.
    pub(super) fn put(&mut self, name: FunctionName, rhythm: Rhythm) {
        if rhythm.is_blank() {
            return;
        }
        if self.young.len() >= FUNCTIONS / 2 {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(name, rhythm);
    }

    /// How many functions are remembered.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }
}
