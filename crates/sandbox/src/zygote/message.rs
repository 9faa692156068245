//! What the warden and a zygote say to each other: numbers in this machine's byte order, as Python's `struct` reads
//! them (`runtimes/python/ephyra_runtime/zygote.py`).

use std::fmt::Write as _;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use ephyra_core::id::EnvironmentId;

use super::{Entry, Seat, Spawned};

const HAS_USER_NAMESPACE: u32 = 1;
const HAS_CGROUP: u32 = 2;

/// What a zygote says when it takes requests; no answer is so short.
const BOOTED: &[u8] = b"ready";
/// Sandbox, error number, process number; then what failed.
const ANSWER_BYTES: usize = 24;

/// The first packet: what holds all forks, and what to import before the first. `filter` is a program of the kernel's.
pub(super) fn setup(no_new_privileges: bool, landlock: bool, filter: Option<&[u8]>, modules: &[String]) -> Vec<u8> {
    let mut text = format!(
        "no-new-privileges {}\nlandlock {}\n",
        u8::from(no_new_privileges),
        u8::from(landlock)
    );
    if let Some(filter) = filter {
        text.push_str("filter ");
        for byte in filter {
            // Writing into a string does not fail.
            write!(text, "{byte:02x}").unwrap_or_default();
        }
        text.push('\n');
    }
    for module in modules {
        text.push_str("module ");
        text.push_str(module);
        text.push('\n');
    }
    text.into_bytes()
}

/// A request for a fork and the descriptors that go with it.
pub(super) fn request(seat: &Seat) -> (Vec<u8>, Vec<BorrowedFd<'_>>) {
    let mut descriptors = vec![seat.first.as_fd(), seat.control.as_fd(), seat.output.as_fd()];
    let mut flags = 0;
    if let Some(namespace) = &seat.user_namespace {
        flags |= HAS_USER_NAMESPACE;
        descriptors.push(namespace.as_fd());
    }
    match &seat.group {
        Entry::None => {}
        Entry::V1(files) => descriptors.extend(files.iter().map(AsFd::as_fd)),
        Entry::V2(directory) => {
            flags |= HAS_CGROUP;
            descriptors.push(directory.as_fd());
        }
    }
    let mut bytes = seat.id.as_bytes().to_vec();
    for number in [flags, seat.namespaces.flags(), seat.uid, seat.gid] {
        bytes.extend(number.to_ne_bytes());
    }
    (bytes, descriptors)
}

/// What a zygote or a fork of it says.
#[derive(Debug)]
pub(super) enum Answer {
    /// It takes requests.
    Booted,
    /// There is a fork, or there is none.
    Spawned(Spawned),
}

impl Answer {
    /// `None` when it is neither.
    pub(super) fn decode(packet: &[u8]) -> Option<Self> {
        if packet == BOOTED {
            return Some(Self::Booted);
        }
        let (numbers, text) = packet.split_at_checked(ANSWER_BYTES)?;
        let (name, numbers) = numbers.split_first_chunk()?;
        let (errno, numbers) = numbers.split_first_chunk()?;
        let (pid, _) = numbers.split_first_chunk()?;
        let id = EnvironmentId::from_bytes(*name);
        let process = match (i32::from_ne_bytes(*errno), i32::from_ne_bytes(*pid)) {
            (0, pid @ 1..) => Ok(pid),
            (0, _) => return None,
            (errno, _) => {
                let kind = io::Error::from_raw_os_error(errno).kind();
                Err(io::Error::new(kind, String::from_utf8_lossy(text).into_owned()))
            }
        };
        Some(Self::Spawned(Spawned { id, process }))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn answer(errno: i32, pid: i32, text: &str) -> Vec<u8> {
        let numbers = [errno.to_ne_bytes(), pid.to_ne_bytes()].concat();
        [&[7; 16], numbers.as_slice(), text.as_bytes()].concat()
    }

    #[test]
    fn answers_are_read() {
        assert!(matches!(Answer::decode(b"ready"), Some(Answer::Booted)));
        let Some(Answer::Spawned(spawned)) = Answer::decode(&answer(0, 3, "")) else {
            panic!("no answer");
        };
        assert_eq!(spawned.id, EnvironmentId::from_bytes([7; 16]));
        assert_eq!(spawned.process.unwrap(), 3);
        let Some(Answer::Spawned(spawned)) = Answer::decode(&answer(libc::EPERM, 0, "no: setns")) else {
            panic!("no answer");
        };
        let error = spawned.process.unwrap_err();
        assert_eq!(
            (error.kind(), error.to_string().as_str()),
            (io::ErrorKind::PermissionDenied, "no: setns")
        );
        assert!(Answer::decode(&answer(0, 0, "")).is_none() && Answer::decode(b"").is_none());
    }

    #[test]
    fn a_setup_is_lines() {
        let text = setup(true, false, Some(&[0, 255]), &["json".to_owned()]);
        assert_eq!(text, b"no-new-privileges 1\nlandlock 0\nfilter 00ff\nmodule json\n");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn any_bytes_are_an_answer_or_none(packet in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Some(Answer::Spawned(Spawned { process: Ok(pid), .. })) = Answer::decode(&packet) {
                prop_assert!(pid > 0);
            }
        }
    }
}
