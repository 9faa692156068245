//! Cases that an operator sees from outside: starting, ending, being killed, sweeping, and going without a piece.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};

use ephyra_sandbox::isolation::{Piece, TmpPlace};
use ephyra_sandbox::warden::{Options, ServerSide, start};
use rustix::process::{Pid, Signal, kill_process};

use crate::case::Tally;
use crate::guest::{self, Spec, spec};
use crate::inside::{Server, block_on};
use crate::world::{World, eventually, groups, loops, mounts, platform_processes, uid_base};

/// Runs the cases.
pub(crate) fn run(tally: &mut Tally, before: &std::collections::BTreeSet<String>) {
    tally.case("what_ends_in_order_leaves_nothing", ends_in_order);
    tally.case("a_second_signal_does_not_wait", a_second_signal);
    tally.case("a_server_that_does_not_drain_is_killed", a_server_that_does_not_drain);
    tally.case("a_killed_server_takes_all_with_it", a_killed_server);
    tally.case("an_end_that_hangs_is_cut_short", cut_short);
    tally.case("a_killed_warden_takes_all_with_it_and_is_swept", a_killed_warden);
    tally.case("a_data_folder_is_used_once", used_once);
    tally.case("without_a_disk_tmp_is_in_memory", in_memory);
    tally.case("with_both_killed_nothing_holds_a_loop_device", both_killed);
    tally.case("a_server_that_talks_nonsense_is_ended", nonsense);
    tally.case("the_server_is_nobody", the_server_is_nobody);
    tally.case("sandboxes_work_with_version_2", version_2);
    tally.case("every_piece_works_here", every_piece);
    tally.case("a_piece_is_left_out_when_named", without_pieces);
    tally.case("what_is_essential_is_not_given_up", essential);
    tally.case("nothing_is_left_on_the_host", || nothing_left(before));
}

#[track_caller]
fn nothing_left(before: &std::collections::BTreeSet<String>) {
    assert_eq!(platform_processes(), []);
    assert_eq!(groups(), Default::default());
    assert_eq!(mounts(), *before);
    eventually("no loop device is left", || loops().is_empty());
}

/// Runs until the server is told to end, and then ends well.
fn until_told(side: ServerSide, ready: &OwnedFd, count: usize, is_frozen: bool) -> i32 {
    block_on(async {
        let mut told = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).unwrap();
        let server = Server::connect(side);
        let mut guests = Vec::new();
        for _ in 0..count {
            let mut guest = server
                .python("import os, socket\nos.fork()\nsocket.socket(fileno=3).sendall(b'x\\n')\nwhile True: pass")
                .await;
            guest.hear().await;
            if is_frozen {
                guest.controls.freeze().unwrap();
            }
            guests.push(guest);
        }
        tell(ready);
        told.recv().await;
    });
    0
}

pub(crate) fn tell(ready: &OwnedFd) {
    File::from(ready.try_clone().unwrap()).write_all(b"x").unwrap();
}

/// A pipe whose reader learns when the server is ready, or has ended before.
pub(crate) fn readiness() -> (File, OwnedFd) {
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    (reader.into(), writer)
}

#[track_caller]
pub(crate) fn wait_until_ready(mut reader: File) {
    let mut byte = [0];
    reader
        .read_exact(&mut byte)
        .expect("the server has ended before it was ready");
}

/// A platform with `count` guests, ready.
#[track_caller]
fn ready_world(change: impl FnOnce(&mut Options), count: usize, is_frozen: bool) -> World {
    let (reader, writer) = readiness();
    let world = World::start(change, |side| until_told(side, &writer, count, is_frozen));
    drop(writer);
    wait_until_ready(reader);
    world
}

fn ends_in_order() {
    let world = ready_world(|_| {}, 3, false);
    // The server, and for each guest its pid 1, its runtime and what that has forked.
    assert_eq!(platform_processes().len(), 1 + 3 * 3);
    assert!(!world.groups().is_empty());
    assert_eq!(
        world.files(),
        [".ephyra", "code", "prepared"],
        "a file system for /tmp has no name"
    );
    world.signal(Signal::TERM);
    assert_eq!(world.wait().exit_status(), Some(0));
    assert_eq!(platform_processes(), []);
    assert_eq!(groups(), Default::default());
    eventually("no loop device is left", || loops().is_empty());
    assert_eq!(world.files(), [".ephyra", "code", "prepared"]);
}

fn never_ends(_: ServerSide, ready: &OwnedFd) -> i32 {
    block_on(async {
        let mut told = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).unwrap();
        tell(ready);
        loop {
            told.recv().await;
            tell(ready);
        }
    })
}

fn a_second_signal() {
    let (reader, writer) = readiness();
    let world = World::start(|_| {}, |side| never_ends(side, &writer));
    drop(writer);
    wait_until_ready(reader.try_clone().unwrap());
    world.signal(Signal::TERM);
    // The server has heard the first.
    wait_until_ready(reader);
    world.signal(Signal::INT);
    assert_eq!(world.wait().exit_status(), Some(128 + 9));
}

fn a_server_that_does_not_drain() {
    let (reader, writer) = readiness();
    let world = World::start(
        |options| options.drain = std::time::Duration::ZERO,
        |side| never_ends(side, &writer),
    );
    drop(writer);
    wait_until_ready(reader);
    world.signal(Signal::TERM);
    assert_eq!(world.wait().exit_status(), Some(128 + 9));
}

pub(crate) fn server_of(processes: &[(i32, u32)]) -> Pid {
    let server = processes.iter().find(|(_, uid)| *uid == uid_base()).expect("a server");
    Pid::from_raw(server.0).unwrap()
}

fn a_killed_server() {
    let world = ready_world(|_| {}, 3, true);
    kill_process(server_of(&platform_processes()), Signal::KILL).unwrap();
    assert_eq!(world.wait().exit_status(), Some(128 + 9));
    assert_eq!(platform_processes(), []);
    assert_eq!(groups(), Default::default());
    eventually("no loop device is left", || loops().is_empty());
}

fn cut_short() {
    let hangs = ephyra_sys::clone::fork(|| {
        ephyra_sys::signal::end_within(std::time::Duration::from_millis(20)).unwrap();
        let (reader, _writer) = rustix::pipe::pipe().unwrap();
        let never = File::from(reader).read(&mut [0]);
        i32::from(never.is_ok())
    });
    let status = rustix::process::waitpid(Some(hangs.unwrap()), rustix::process::WaitOptions::empty());
    let signal = status.unwrap().and_then(|(_, status)| status.terminating_signal());
    assert_eq!(signal, Some(Signal::ALARM.as_raw()));
}

fn a_killed_warden() {
    for is_frozen in [false, true] {
        let world = ready_world(|_| {}, 3, is_frozen);
        world.signal(Signal::KILL);
        world.wait();
        eventually("the server dies with the warden", || {
            platform_processes().iter().all(|(_, uid)| *uid != uid_base())
        });
        if !is_frozen {
            eventually("the guests die with the warden", || platform_processes().is_empty());
        }
        assert!(!world.groups().is_empty(), "groups outlive their warden");
        // The next start of the same folder finds what is left and ends it.
        let (reader, writer) = readiness();
        let world = World::start_in(world.into_folder(), |_| {}, |side| until_told(side, &writer, 1, false));
        drop(writer);
        wait_until_ready(reader);
        assert_eq!(platform_processes().len(), 1 + 3);
        world.signal(Signal::TERM);
        assert_eq!(world.wait().exit_status(), Some(0));
        assert_eq!(platform_processes(), []);
        assert_eq!(groups(), Default::default());
        eventually("no loop device is left", || loops().is_empty());
        assert_eq!(world.files(), [".ephyra", "code", "prepared"]);
    }
}

fn used_once() {
    let world = ready_world(|_| {}, 0, false);
    let (mut reader, writer) = rustix::pipe::pipe().map(|(r, w)| (File::from(r), w)).unwrap();
    let mut options = Options::new(world.data());
    options.uid_base = uid_base();
    let second = ephyra_sys::clone::fork(|| {
        let error = start(options, |_| 0).expect_err("the folder is in use");
        File::from(writer.as_fd().try_clone_to_owned().unwrap())
            .write_all(error.to_string().as_bytes())
            .unwrap();
        0
    });
    drop(writer);
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    assert!(text.contains(&format!("process id {}", world.warden)), "{text}");
    rustix::process::waitpid(Some(second.unwrap()), rustix::process::WaitOptions::empty()).unwrap();
    world.signal(Signal::TERM);
    assert_eq!(world.wait().exit_status(), Some(0));
}

/// A data folder that is in memory itself.
fn in_memory() {
    let folder = tempfile::tempdir_in("/dev/shm").unwrap();
    let (mut reader, writer) = rustix::pipe::pipe().map(|(r, w)| (File::from(r), w)).unwrap();
    let world = World::start_in(
        folder,
        |_| {},
        |side| {
            block_on(async {
                let text = why_in_memory(&side.isolation.tmp).to_owned();
                let server = Server::connect(side);
                let kind = "print([l.split()[2] for l in open('/proc/self/mounts') if l.split()[1] == '/tmp'])";
                let kind = server.output_of(kind).await;
                let mut file = File::from(writer.try_clone().unwrap());
                file.write_all(format!("{text}: {kind}").as_bytes()).unwrap();
            });
            0
        },
    );
    drop(writer);
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    // A machine without loop devices has its reason before it comes to the folder.
    let reasons = ["the data folder is itself in memory", "there are no loop devices"];
    assert!(
        reasons.iter().any(|reason| text.starts_with(reason)) && text.ends_with(": ['tmpfs']\n"),
        "{text}"
    );
    assert_eq!(world.wait().exit_status(), Some(1));
}

/// Why /tmp is in memory.
fn why_in_memory(place: &TmpPlace) -> &str {
    match place {
        TmpPlace::Disk => "disk",
        TmpPlace::Memory { why } => why,
    }
}

fn both_killed() {
    let world = ready_world(|_| {}, 3, false);
    let is_on_disk = ephyra_sandbox::isolation::check(&Default::default(), uid_base()).tmp == TmpPlace::Disk;
    assert_eq!(
        !loops().is_empty(),
        is_on_disk,
        "three guests have theirs, and some are ready"
    );
    // A stopped warden sees neither end.
    world.signal(Signal::STOP);
    kill_process(server_of(&platform_processes()), Signal::KILL).unwrap();
    world.signal(Signal::KILL);
    world.wait();
    eventually("the guests die with the warden", || platform_processes().is_empty());
    eventually("no loop device is left", || loops().is_empty());
    assert_eq!(world.files(), [".ephyra", "code", "prepared"]);
    // What is left of its groups is the next start's to sweep.
    let (reader, writer) = readiness();
    let world = World::start_in(world.into_folder(), |_| {}, |side| until_told(side, &writer, 0, false));
    drop(writer);
    wait_until_ready(reader);
    world.signal(Signal::TERM);
    assert_eq!(world.wait().exit_status(), Some(0));
}

fn nonsense() {
    for packet in [&b"\xff\xff\xff"[..], &[0; 4000], &[7; 5000]] {
        let world = World::start(
            |_| {},
            |side| {
                rustix::net::send(&side.socket, packet, rustix::net::SendFlags::empty()).unwrap();
                // Nothing but the warden's displeasure ends this.
                loop {
                    rustix::event::pause();
                }
            },
        );
        assert_eq!(world.wait().exit_status(), Some(128 + 9));
    }
}

fn the_server_is_nobody() {
    let (mut reader, writer) = rustix::pipe::pipe().map(|(r, w)| (File::from(r), w)).unwrap();
    let world = World::start(
        |_| {},
        |side| {
            let status = std::fs::read_to_string("/proc/self/status").unwrap();
            let mut text: String = status
                .lines()
                .filter(|line| {
                    ["Uid", "Gid", "Groups", "Cap", "NoNewPrivs"]
                        .iter()
                        .any(|name| line.starts_with(name))
                })
                .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ") + "\n")
                .collect();
            let names = |path: &str| {
                let entries = std::fs::read_dir(path).unwrap();
                let mut names: Vec<_> = entries
                    .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                    .collect();
                names.sort();
                names
            };
            let written = std::fs::write(side.data.join("state"), "x").is_ok();
            let refused = ["/x", "/etc/x", "/dev/x", "/var/x"]
                .iter()
                .all(|path| std::fs::write(path, "").is_err());
            let processes = names("/proc").iter().filter(|name| name.parse::<u32>().is_ok()).count();
            text += &format!("{written} {refused} {processes} {:?}\n", names("/dev"));
            text += &format!(
                "{:?} {:?}\n",
                std::fs::metadata("/etc/shadow").is_err(),
                std::fs::metadata("/usr/bin").is_err()
            );
            File::from(writer.try_clone().unwrap())
                .write_all(text.as_bytes())
                .unwrap();
            7
        },
    );
    drop(writer);
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    let zero = "0000000000000000";
    let want = format!(
        "Uid: {0} {0} {0} {0}\nGid: {0} {0} {0} {0}\nGroups:\nCapInh: {zero}\nCapPrm: {zero}\nCapEff: {zero}\n\
         CapBnd: {zero}\nCapAmb: {zero}\nNoNewPrivs: 1\ntrue true 1 [\"null\", \"urandom\"]\ntrue true\n",
        uid_base()
    );
    assert_eq!(text, want);
    assert_eq!(world.wait().exit_status(), Some(7));
}

/// Runs one guest in a platform without some pieces; what it says, or panics.
fn said_without(pieces: &[Piece], script: &'static str) -> String {
    let (mut reader, writer) = rustix::pipe::pipe().map(|(r, w)| (File::from(r), w)).unwrap();
    let world = World::start(
        |options| options.weaker = pieces.iter().copied().collect(),
        |side| {
            block_on(async {
                let server = Server::connect(side);
                let code = server.empty();
                let spec = Spec {
                    memory_mb: 256,
                    ..spec(guest::runtime(&server.warden, "python3."), code)
                };
                let mut guest = guest::python(&server.warden, spec.clone(), script).await;
                guest.controls.freeze().unwrap();
                guest.controls.thaw().unwrap();
                guest.controls.cap_cpu().unwrap();
                let ended = guest.ended().await;
                let readings = (
                    guest.controls.cpu_time().unwrap().is_zero(),
                    guest.controls.peak_memory_bytes().unwrap() == 0,
                );
                guest.end().await;
                // Whoever goes without a piece goes without it in both ways.
                let mut forked = guest::forked(&server.warden, spec, script).await.unwrap();
                assert_eq!(forked.ended().await.output, ended.output);
                forked.end().await;
                File::from(writer.try_clone().unwrap())
                    .write_all(format!("{}{readings:?}", ended.output).as_bytes())
                    .unwrap();
            });
            0
        },
    );
    drop(writer);
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    assert_eq!(world.wait().exit_status(), Some(1));
    text
}

const VERSION_2: &[Piece] = &[Piece::CgroupMemory, Piece::CgroupCpu, Piece::CgroupPids];

/// Here version 2 has no controllers: what it can do without, it does.
fn version_2() {
    assert_eq!(said_without(VERSION_2, "print('alive')"), "alive\n(true, true)");
    for is_frozen in [false, true] {
        let world = ready_world(
            |options| options.weaker = VERSION_2.iter().copied().collect(),
            2,
            is_frozen,
        );
        assert!(
            groups()
                .iter()
                .all(|group| group.join("cgroup.subtree_control").exists())
        );
        let group = world.groups().pop_first().unwrap();
        eventually("both guests are frozen, or neither", || {
            let guests = std::fs::read_dir(&group).unwrap().filter_map(|entry| {
                let events = std::fs::read_to_string(entry.ok()?.path().join("cgroup.events")).ok()?;
                events.contains("populated 1").then(|| events.contains("frozen 1"))
            });
            guests.collect::<Vec<_>>() == [is_frozen; 2]
        });
        world.signal(Signal::KILL);
        world.wait();
        // Here even the frozen ones die at once.
        eventually("all die with the warden", || platform_processes().is_empty());
        let (reader, writer) = readiness();
        let weaker = |options: &mut Options| options.weaker = VERSION_2.iter().copied().collect();
        let world = World::start_in(world.into_folder(), weaker, |side| {
            until_told(side, &writer, 1, is_frozen)
        });
        drop(writer);
        wait_until_ready(reader);
        world.signal(Signal::TERM);
        assert_eq!(world.wait().exit_status(), Some(0));
        assert_eq!(groups(), Default::default());
    }
}

fn every_piece() {
    let report = ephyra_sandbox::isolation::check(&Default::default(), uid_base());
    assert_eq!(report.findings.len(), Piece::ALL.len());
    for finding in &report.findings {
        assert_eq!(finding.failure, None, "{}", finding.piece);
    }
    // A base that no user namespace can map.
    let report = ephyra_sandbox::isolation::check(&Default::default(), u32::MAX);
    assert!(report.require().is_err());
}

const SCRIPT: &str = "import os, ctypes, socket
status = dict(line.split(':\\t', 1) for line in open('/proc/self/status') if ':\\t' in line)
libc = ctypes.CDLL(None, use_errno=True)
unshare = libc.unshare(0x40000000), ctypes.get_errno()
try: os.kill(1, 0); pid1 = 'seen'
except OSError: pid1 = 'hidden'
print(os.getuid(), os.geteuid() == 0, status['Seccomp'].strip(), status['NoNewPrivs'].strip(), socket.gethostname() == 'sandbox', unshare[1], open('/proc/self/cgroup').read().count('ephyra') > 0, libc.syscall(444, 0, 0, 1) > 0)";

fn without_pieces() {
    let all = said_without(&[], SCRIPT);
    // Seccomp also refuses what the kernel alone would.
    assert_eq!(all, "993 False 2 1 True 1 False True\n(false, false)");
    let is = |piece: Piece, want: &str| {
        assert_eq!(said_without(&[piece], SCRIPT), want, "without {piece}");
    };
    is(
        Piece::UserNamespace,
        &format!("{} False 2 1 True 1 False True\n(false, false)", uid_base() + 1),
    );
    is(Piece::Seccomp, "993 False 0 1 True 1 False True\n(false, false)");
    is(Piece::UtsNamespace, "993 False 2 1 False 1 False True\n(false, false)");
    is(Piece::CgroupNamespace, "993 False 2 1 True 1 True True\n(false, false)");
    is(Piece::CgroupMemory, "993 False 2 1 True 1 False True\n(false, true)");
    is(Piece::CgroupCpu, "993 False 2 1 True 1 False True\n(true, false)");
    for piece in [
        Piece::IpcNamespace,
        Piece::PivotRoot,
        Piece::Landlock,
        Piece::CgroupPids,
        Piece::CgroupFreezer,
        Piece::Overlayfs,
        Piece::OwnUsers,
    ] {
        is(piece, &all);
    }
    // Landlock and seccomp set it too.
    let none = [Piece::NoNewPrivileges, Piece::Landlock, Piece::Seccomp];
    assert_eq!(
        said_without(&none, SCRIPT),
        "993 False 0 0 True 1 False True\n(false, false)"
    );
}

fn essential() {
    for piece in Piece::ALL.iter().filter(|piece| piece.is_essential()) {
        let folder = tempfile::tempdir().unwrap();
        let mut options = Options::new(folder.path().join("data"));
        options.weaker = [*piece].into();
        let error = start(options, |_| 0).expect_err("it cannot be given up");
        assert!(error.to_string().contains("cannot be given up"), "{error}");
        assert!(!folder.path().join("data").exists(), "nothing was made");
    }
}
