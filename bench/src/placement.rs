//! Which processors the sides of a measurement may run on.
//!
//! On one connection the wake-up of another processor costs more than all the code on the way, and the scheduler's
//! choice sticks to a connection for seconds. So what is held against each other is measured in the same placement.

use std::fs;

use anyhow::{Context, Result};
use rustix::io::Errno;
use rustix::thread::{CpuSet, Pid, sched_getaffinity, sched_setaffinity};

/// Where the client and those that it calls may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Placement {
    /// Where the scheduler likes; the client begins each turn on another processor.
    Free,
    /// All of them on one processor.
    Together,
    /// The client on one processor and the others on the rest, as when it is on another machine.
    Apart,
}

/// The processors of this machine that the program may use. Dropped, this thread may use all of them again.
pub(crate) struct Processors {
    all: CpuSet,
    numbers: Vec<usize>,
}

impl Processors {
    pub(crate) fn find() -> Result<Self> {
        let all = sched_getaffinity(None).context("could not read this thread's processors")?;
        let numbers: Vec<_> = (0..CpuSet::MAX_CPU).filter(|number| all.is_set(*number)).collect();
        Ok(Self { all, numbers })
    }

    /// Whether there is a choice.
    pub(crate) fn are_several(&self) -> bool {
        self.numbers.len() > 1
    }

    /// Puts this thread where a turn begins.
    pub(crate) fn place_client(&self, placement: Placement, turn: usize) -> Result<()> {
        let number = match placement {
            Placement::Free => self.numbers.get(turn % self.numbers.len().max(1)),
            Placement::Together | Placement::Apart => self.numbers.first(),
        };
        hold_thread(None, &set(number.into_iter()))?;
        if placement == Placement::Free {
            hold_thread(None, &self.all)?;
        }
        Ok(())
    }

    /// Holds all threads of these processes until the answer is dropped; one that ends meanwhile is not missed. Free
    /// ones stay as they are: where they run is then theirs to choose.
    pub(crate) fn hold_servers(&self, placement: Placement, processes: &[i32]) -> Result<Held> {
        let mut held = Held(Vec::new());
        let of_it = match placement {
            Placement::Free => return Ok(held),
            Placement::Together => set(self.numbers.iter().take(1)),
            Placement::Apart => set(self.numbers.iter().skip(1)),
        };
        for process in processes {
            let Ok(threads) = fs::read_dir(format!("/proc/{process}/task")) else {
                continue;
            };
            for thread in threads.flatten() {
                let id = thread
                    .file_name()
                    .to_string_lossy()
                    .parse()
                    .ok()
                    .and_then(Pid::from_raw);
                let id = id.context("a thread has a number")?;
                if let Ok(before) = sched_getaffinity(Some(id)) {
                    held.0.push((id, before));
                    hold_thread(Some(id), &of_it)?;
                }
            }
        }
        Ok(held)
    }
}

/// Held threads, with where they might run before. Dropped, they may again.
pub(crate) struct Held(Vec<(Pid, CpuSet)>);

impl Drop for Held {
    fn drop(&mut self) {
        for (thread, before) in &self.0 {
            // It was allowed before.
            let _ = hold_thread(Some(*thread), before);
        }
    }
}

impl Drop for Processors {
    fn drop(&mut self) {
        // It was allowed before.
        let _ = hold_thread(None, &self.all);
    }
}

fn set<'a>(numbers: impl Iterator<Item = &'a usize>) -> CpuSet {
    let mut set = CpuSet::new();
    numbers.for_each(|number| set.set(*number));
    set
}

fn hold_thread(thread: Option<Pid>, processors: &CpuSet) -> Result<()> {
    match sched_setaffinity(thread, processors) {
        Ok(()) | Err(Errno::SRCH) => Ok(()),
        Err(error) => Err(error).context("could not hold a thread on a processor"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_held_and_let_go() {
        std::thread::spawn(|| {
            let processors = Processors::find().unwrap();
            let before = sched_getaffinity(None).unwrap();
            processors.place_client(Placement::Together, 3).unwrap();
            assert_eq!(sched_getaffinity(None).unwrap().count(), 1);
            processors.place_client(Placement::Free, 3).unwrap();
            assert_eq!(sched_getaffinity(None).unwrap(), before);
            processors.place_client(Placement::Apart, 0).unwrap();
            drop(processors);
            assert_eq!(sched_getaffinity(None).unwrap(), before);
        })
        .join()
        .unwrap();
    }

    #[test]
    fn a_process_is_held_and_one_that_has_ended_is_not_missed() {
        let mut child = std::process::Command::new("sleep").arg("100").spawn().unwrap();
        let id = i32::try_from(child.id()).unwrap();
        let of_it = || sched_getaffinity(Pid::from_raw(id)).unwrap().count();
        let processors = Processors::find().unwrap();
        let all = of_it();
        let held = processors.hold_servers(Placement::Together, &[id]).unwrap();
        assert_eq!(of_it(), 1);
        drop(held);
        assert_eq!(of_it(), all);
        let _free = processors.hold_servers(Placement::Free, &[id]).unwrap();
        assert_eq!(of_it(), all);
        child.kill().unwrap();
        child.wait().unwrap();
        processors.hold_servers(Placement::Together, &[id]).unwrap();
    }
}
