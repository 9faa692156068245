//! Sandboxes that nobody has been given yet, seen from outside: what becomes of them when somebody is killed, and what a
//! server that breaks the rules can do with them. Their pid 1 is root, so they are found by their control groups.

use std::fs;
use std::io::{IoSliceMut, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;

use ephyra_core::digest::Digest;
use ephyra_core::id::EnvironmentId;
use ephyra_sandbox::supervisor::Exit;
use ephyra_sandbox::warden::ServerSide;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use rustix::process::{Pid, Signal, kill_process};
use serde::Serialize;

use crate::case::Tally;
use crate::guest::{self, LIMIT, enter, program, spec};
use crate::inside::{Server, block_on};
use crate::outside::{readiness, server_of, tell, wait_until_ready};
use crate::world::{World, eventually, groups, loops, platform_processes};

/// Runs the cases.
pub(crate) fn run(tally: &mut Tally) {
    tally.case("a_killed_server_takes_blank_sandboxes_with_it", || {
        killed(Victim::Server)
    });
    tally.case("a_killed_warden_takes_blank_sandboxes_with_it", || {
        killed(Victim::Warden)
    });
    tally.case("both_killed_take_blank_sandboxes_with_them", || killed(Victim::Both));
    tally.case("a_server_that_breaks_the_rules_gains_nothing", breaks_rules);
    tally.case("a_killed_zygote_takes_nobody_with_it", killed_zygote);
    tally.case("a_zygote_is_replaced_after_its_forks", replaced_zygote);
    tally.case("a_zygote_that_cannot_boot_says_why_and_is_left_alone", broken_zygote);
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Victim {
    Server,
    Warden,
    Both,
}

/// Prepares sandboxes, some of them with a runtime in it, and waits.
fn wait_with_blanks(side: ServerSide, ready: &OwnedFd) -> i32 {
    block_on(async {
        let server = Server::connect(side);
        let spec = spec(guest::runtime(&server.warden, "provided"), server.empty());
        let mut guests = Vec::new();
        for number in 0..4 {
            let mut guest = enter(server.warden.prepare(spec.blank()).await.unwrap());
            if number % 2 == 0 {
                let mut command = program(&["/bin/sh", "-c", "sleep 3600 & echo >&3; wait"]);
                command.directory = "/".to_owned();
                guest
                    .command(&ephyra_sandbox::supervisor::Command::Start(command))
                    .await;
                guest.hear().await;
            }
            guests.push(guest);
        }
        tell(ready);
        std::future::pending::<()>().await;
    });
    0
}

/// Everybody in the groups of a data folder.
fn inhabitants(world: &World) -> usize {
    let in_group = |group: &Path| {
        let entries = fs::read_dir(group).into_iter().flatten().flatten();
        let lists = entries.filter_map(|entry| fs::read_to_string(entry.path().join("cgroup.procs")).ok());
        lists.map(|list| list.lines().count()).sum::<usize>()
    };
    world.groups().iter().map(|group| in_group(group)).max().unwrap_or(0)
}

fn killed(victim: Victim) {
    let (reader, writer) = readiness();
    let world = World::start(|_| {}, |side| wait_with_blanks(side, &writer));
    drop(writer);
    wait_until_ready(reader);
    // Four of pid 1, and in two of them a shell and what it waits for.
    assert_eq!(inhabitants(&world), 4 + 2 * 2);
    if victim == Victim::Both {
        // A stopped warden sees neither end.
        world.signal(Signal::STOP);
    }
    if victim != Victim::Warden {
        kill_process(server_of(&platform_processes()), Signal::KILL).unwrap();
    }
    if victim != Victim::Server {
        world.signal(Signal::KILL);
    }
    world.wait();
    eventually("all of them end", || {
        inhabitants(&world) == 0 && platform_processes().is_empty()
    });
    eventually("no loop device is left", || loops().is_empty());
    if victim != Victim::Server {
        // What is left of the groups is the next start's to sweep.
        let (reader, writer) = readiness();
        let world = World::start_in(
            world.into_folder(),
            |_| {},
            |side| {
                let status = i32::try_from(side.runtimes.len()).map_or(1, |_| 0);
                tell(&writer);
                status
            },
        );
        drop(writer);
        wait_until_ready(reader);
        world.wait();
    }
    assert_eq!(groups(), Default::default());
}

/// As the server's requests are written; see the crate's `protocol`.
#[derive(Serialize)]
enum Request {
    Prepare {
        id: EnvironmentId,
        runtime: u16,
        memory_mb: u32,
        base: Option<Digest>,
        has_zygote: bool,
    },
    Assign {
        id: EnvironmentId,
        memory_mb: u32,
        tmp_mb: u32,
        code: Option<Digest>,
        layers: Vec<Digest>,
        prepared: Option<Digest>,
    },
    End {
        id: EnvironmentId,
    },
}

/// The number of a reply's kind.
const PREPARED: u8 = 0;
const ASSIGNED: u8 = 1;
const FAILED: u8 = 2;
const ENDED: u8 = 3;

/// A server that has no mind to keep to the rules.
struct Rogue {
    socket: OwnedFd,
    /// What came along: a sandbox ends when nobody holds its supervisor.
    held: Vec<OwnedFd>,
}

impl Rogue {
    fn say(&self, request: &Request) {
        let packet = postcard::to_stdvec(request).unwrap();
        rustix::net::send(&self.socket, &packet, rustix::net::SendFlags::empty()).unwrap();
    }

    /// The kind of the next reply.
    fn hear(&mut self) -> u8 {
        let mut polled = [PollFd::new(&self.socket, PollFlags::IN)];
        let wait = Timespec::try_from(LIMIT).unwrap();
        assert_eq!(poll(&mut polled, Some(&wait)).unwrap(), 1, "an answer in time");
        let (mut packet, mut space) = ([0; 4096], [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(16))]);
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut slices = [IoSliceMut::new(&mut packet)];
        let message = recvmsg(&self.socket, &mut slices, &mut control, RecvFlags::CMSG_CLOEXEC).unwrap();
        assert!(message.bytes > 0, "the warden lives");
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                self.held.extend(descriptors);
            }
        }
        packet[0]
    }

    fn ask(&mut self, request: &Request) -> u8 {
        self.say(request);
        self.hear()
    }
}

fn breaks_rules() {
    let world = World::start(
        |_| {},
        |side| {
            let mut rogue = Rogue {
                socket: side.socket,
                held: Vec::new(),
            };
            let code = Digest::of(b"mine");
            fs::create_dir(side.data.join("code").join(code.to_string())).unwrap();
            let prepare = |id, runtime, memory_mb, base, has_zygote| Request::Prepare {
                id,
                runtime,
                memory_mb,
                base,
                has_zygote,
            };
            let assign = |id, memory_mb, tmp_mb, code, layers| Request::Assign {
                id,
                memory_mb,
                tmp_mb,
                code,
                layers,
                prepared: None,
            };
            let [first, second, third] = [(); 3].map(|()| EnvironmentId::new());
            let provided = u16::try_from(side.runtimes.len() - 1).unwrap();
            // What is out of bounds.
            for request in [
                prepare(first, u16::MAX, 128, None, false),
                prepare(first, provided, 1, None, false),
                prepare(first, provided, u32::MAX, None, false),
                prepare(first, provided, 128, Some(code), false),
                prepare(first, provided, 128, None, true),
                assign(first, 128, 512, Some(code), Vec::new()),
            ] {
                assert_eq!(rogue.ask(&request), FAILED);
            }
            assert_eq!(rogue.ask(&prepare(first, provided, 128, None, false)), PREPARED);
            for request in [
                prepare(first, provided, 128, None, false),
                assign(first, 64, 512, Some(code), Vec::new()),
                assign(first, 128, u32::MAX, Some(code), Vec::new()),
                assign(first, 128, 512, Some(code), vec![code; 6]),
            ] {
                assert_eq!(rogue.ask(&request), FAILED);
            }
            // None of that has changed anything.
            assert_eq!(rogue.ask(&assign(first, 128, 512, Some(code), Vec::new())), ASSIGNED);
            assert_eq!(rogue.ask(&assign(first, 128, 512, Some(code), Vec::new())), FAILED);
            // Two at once: the first holds. What is not there ends the sandbox, so that nothing is half assigned.
            assert_eq!(rogue.ask(&prepare(second, provided, 128, None, false)), PREPARED);
            rogue.say(&assign(second, 256, 512, None, Vec::new()));
            let mut both = [rogue.ask(&assign(second, 128, 512, None, Vec::new())), rogue.hear()];
            both.sort_unstable();
            assert_eq!(both, [ASSIGNED, FAILED]);
            assert_eq!(rogue.ask(&prepare(third, provided, 128, None, false)), PREPARED);
            let absent = Some(Digest::of(b"absent"));
            assert_eq!(rogue.ask(&assign(third, 128, 512, absent, Vec::new())), FAILED);
            assert_eq!(rogue.ask(&assign(third, 128, 512, None, Vec::new())), FAILED);
            // The names of the ended are free again, and mean nothing until then.
            for id in [first, second, third] {
                assert_eq!(rogue.ask(&Request::End { id }), ENDED);
                assert_eq!(rogue.ask(&assign(id, 128, 512, None, Vec::new())), FAILED);
                assert_eq!(rogue.ask(&Request::End { id }), ENDED);
            }
            assert_eq!(rogue.ask(&prepare(first, provided, 128, None, false)), PREPARED);
            // Ended while it is being assigned.
            rogue.say(&assign(first, 128, 512, None, Vec::new()));
            let reply = rogue.ask(&Request::End { id: first });
            assert!(reply == ENDED || (reply == ASSIGNED && rogue.hear() == ENDED));
            0
        },
    );
    // Nobody has told it to.
    assert_eq!(world.wait().exit_status(), Some(1));
    assert_eq!(groups(), Default::default());
}

/// The zygotes of a platform: children of its warden, by what they were executed with.
fn zygotes(world: &World) -> Vec<Pid> {
    let entries = fs::read_dir("/proc").unwrap();
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()?.parse().ok());
    let is_ours = |pid: &i32| {
        let read = |name: &str| fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap_or_default();
        let parent = format!("PPid:\t{}\n", world.warden.as_raw_pid());
        read("cmdline").contains("/var/runtime/zygote.py") && read("status").contains(&parent)
    };
    pids.filter(is_ours).filter_map(Pid::from_raw).collect()
}

/// Forks twice, waits to be told that the zygote was killed, and forks again.
fn fork_twice(side: ServerSide, ready: &OwnedFd, killed: &OwnedFd) -> i32 {
    block_on(async {
        let server = Server::connect(side);
        let spec = || spec(guest::runtime(&server.warden, "python3."), server.empty());
        let script = "import os\nos.read(3, 1)\nprint('still here')";
        let mut first = guest::forked(&server.warden, spec(), script).await.unwrap();
        tell(ready);
        rustix::io::read(killed, &mut [0]).unwrap();
        let mut second = guest::forked(&server.warden, spec(), script).await.unwrap();
        for guest in [&mut first, &mut second] {
            guest.say("x").await;
            let ended = guest.ended().await;
            assert_eq!(
                (ended.exit, ended.output.as_str()),
                (Some(Exit::Exited(0)), "still here\n")
            );
        }
        first.end().await;
        second.end().await;
    });
    0
}

fn killed_zygote() {
    let (reader, writer) = readiness();
    let (killed, teller) = rustix::pipe::pipe().unwrap();
    let world = World::start(|_| {}, |side| fork_twice(side, &writer, &killed));
    drop(writer);
    wait_until_ready(reader);
    let zygote = zygotes(&world);
    assert_eq!(zygote.len(), 1);
    kill_process(zygote[0], Signal::KILL).unwrap();
    eventually("it is reaped", || zygotes(&world) != zygote);
    tell(&teller);
    // Nobody has told the server to end, and it ends well.
    assert_eq!(world.wait().exit_status(), Some(1));
    assert_eq!(groups(), Default::default());
}

/// Forks until two zygotes have been at work, each with a hash secret of its own. No fork fails meanwhile.
fn replaced_zygote() {
    let (reader, writer) = readiness();
    let (looked, teller) = rustix::pipe::pipe().unwrap();
    let world = World::start(
        |options| options.zygote_forks = 2,
        |side| {
            block_on(async {
                let server = Server::connect(side);
                let mut seen = std::collections::BTreeSet::new();
                for _ in 0..500 {
                    let spec = spec(guest::runtime(&server.warden, "python3."), server.empty());
                    let script = "print(hash('secret'))";
                    let mut guest = guest::forked(&server.warden, spec, script).await.unwrap();
                    let ended = guest.ended().await;
                    assert_eq!(ended.exit, Some(Exit::Exited(0)), "{}", ended.output);
                    seen.insert(ended.output);
                    guest.end().await;
                    if seen.len() == 3 {
                        break;
                    }
                }
                assert_eq!(seen.len(), 3, "zygotes are not replaced");
                tell(&writer);
                rustix::io::read(&looked, &mut [0]).unwrap();
            });
            0
        },
    );
    drop(writer);
    wait_until_ready(reader);
    // The last one, and perhaps the next.
    eventually("the old ones go", || (1..=2).contains(&zygotes(&world).len()));
    tell(&teller);
    assert_eq!(world.wait().exit_status(), Some(1));
    assert_eq!(groups(), Default::default());
}

/// What the server is told when there can be no zygote: twice, the second time without a try.
fn broken_zygote() {
    let (mut reader, writer) = readiness();
    let world = World::start(
        |options| options.zygote_modules = vec!["there_is_no_such_module".to_owned()],
        |side| {
            block_on(async {
                let server = Server::connect(side);
                let spec = || spec(guest::runtime(&server.warden, "python3."), server.empty());
                for _ in 0..2 {
                    let Err(error) = guest::forked(&server.warden, spec(), "").await else {
                        panic!("there is a fork");
                    };
                    writeln!(std::fs::File::from(writer.try_clone().unwrap()), "{error}").unwrap();
                }
                // Without it the sandbox is as good as ever.
                let mut guest = guest::python(&server.warden, spec(), "print(1)").await;
                assert_eq!(guest.ended().await.output, "1\n");
                guest.end().await;
            });
            0
        },
    );
    drop(writer);
    let mut said = String::new();
    reader.read_to_string(&mut said).unwrap();
    let lines: Vec<_> = said.lines().collect();
    assert!(said.contains("No module named 'there_is_no_such_module'"), "{said}");
    assert!(lines.last().unwrap().contains("not started again yet"), "{said}");
    assert_eq!(world.wait().exit_status(), Some(1));
}
