//! Many sandboxes, one after the other and all at once: how long they take, and that nothing of them stays.
//!
//! `EPHYRA_SANDBOXES` says how many are built and ended in a row; 300 unless it is set.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::time::Instant;

use ephyra_sandbox::supervisor::Command;
use ephyra_sandbox::warden::ServerSide;
use futures_util::StreamExt;
use futures_util::stream::{FuturesUnordered, iter};
use rustix::process::Signal;

use crate::case::Tally;
use crate::guest::{self, Guest, Spec, enter, program, spec};
use crate::inside::{Server, block_on};
use crate::outside::{readiness, tell, wait_until_ready};
use crate::world::{World, eventually, groups, loops, platform_processes};

/// How many are built and ended at a time.
const AT_ONCE: usize = 8;
/// How many are asked for at the same moment.
const BURST: usize = 100;
/// What the warden and the server may grow by.
const GROWTH_KB: u64 = 5 * 1024;

/// What the warden has open at most when nothing runs: the namespaces of 64 slots, two each, 32 file systems for /tmp, and
/// its own.
const READY: usize = 64 * 2 + 32 + 32;

/// Runs the cases.
pub(crate) fn run(tally: &mut Tally) {
    tally.case("many_in_a_row_leave_nothing", many_in_a_row);
    tally.case("a_hundred_at_once_are_built", a_hundred_at_once);
}

fn count() -> usize {
    std::env::var("EPHYRA_SANDBOXES").map_or(300, |text| text.parse().expect("a number of sandboxes"))
}

/// Every third is started while it is blank, every third once it is assigned, and the others are never.
async fn live_and_die(server: &Server, spec: &Spec, number: usize) {
    let mut guest = enter(server.warden.prepare(spec.blank()).await.unwrap());
    let mut command = program(&["/bin/sh", "-c", "echo > /tmp/x; echo >&3; read line <&3"]);
    command.directory = "/".to_owned();
    let command = Command::Start(command);
    if number.is_multiple_of(3) {
        guest.command(&command).await;
        guest.hear().await;
    }
    guest.controls.assign(spec.assignment()).await.unwrap();
    if number % 3 == 1 {
        guest.command(&command).await;
        guest.hear().await;
    }
    guest.end().await;
}

fn many(side: ServerSide, ready: &OwnedFd, go: &OwnedFd) -> i32 {
    block_on(async {
        let server = Server::connect(side);
        let spec = spec(guest::runtime(&server.warden, "provided"), server.empty());
        for count in [100, count()] {
            let began = Instant::now();
            let all = iter(0..count).map(|number| live_and_die(&server, &spec, number));
            all.buffer_unordered(AT_ONCE).collect::<Vec<()>>().await;
            let each = began.elapsed() / u32::try_from(count).unwrap();
            println!("    {count} built, used and ended, {AT_ONCE} at a time: {each:?} each");
            tell(ready);
            let mut go = File::from(go.try_clone().unwrap());
            tokio::task::spawn_blocking(move || go.read_exact(&mut [0]))
                .await
                .unwrap()
                .unwrap();
        }
    });
    0
}

/// What a process holds: memory in KB, descriptors, mounts.
#[derive(Debug)]
struct Holdings {
    memory_kb: u64,
    descriptors: usize,
    mounts: usize,
}

impl Holdings {
    fn of(pid: i32) -> Self {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let memory = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        Self {
            memory_kb: memory.trim().trim_end_matches(" kB").parse().unwrap(),
            descriptors: fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count(),
            mounts: fs::read_to_string(format!("/proc/{pid}/mountinfo"))
                .unwrap()
                .lines()
                .count(),
        }
    }
}

/// The control groups of sandboxes in the hierarchy that has the most.
fn sandboxes(world: &World) -> usize {
    let count = |group: &std::path::PathBuf| {
        fs::read_dir(group).map_or(0, |entries| entries.flatten().filter(|e| e.path().is_dir()).count())
    };
    world.groups().iter().map(count).max().unwrap_or(0)
}

fn many_in_a_row() {
    let (reader, writer) = readiness();
    let (go, mut say_go) = rustix::pipe::pipe().map(|(r, w)| (r, File::from(w))).unwrap();
    let world = World::start(|_| {}, |side| many(side, &writer, &go));
    drop(writer);
    wait_until_ready(reader.try_clone().unwrap());
    let warden = world.warden.as_raw_pid();
    let server = platform_processes().first().map(|(pid, _)| *pid).unwrap();
    let before = [warden, server].map(Holdings::of);
    say_go.write_all(b"x").unwrap();
    wait_until_ready(reader);
    eventually("no more groups are left than are kept ready", || {
        sandboxes(&world) < BURST
    });
    let after = [warden, server].map(Holdings::of);
    println!("    warden and server {before:?} -> {after:?}");
    assert!(after[0].descriptors <= READY, "{after:?}");
    assert!(
        after[1].descriptors <= before[1].descriptors + 2,
        "{before:?} {after:?}"
    );
    for (before, after) in before.iter().zip(&after) {
        assert_eq!(before.mounts, after.mounts);
        assert!(after.memory_kb <= before.memory_kb + GROWTH_KB, "{before:?} {after:?}");
    }
    // The server alone: nothing runs in any sandbox.
    assert_eq!(platform_processes().len(), 1);
    say_go.write_all(b"x").unwrap();
    world.signal(Signal::TERM);
    world.wait();
    assert_eq!(groups(), Default::default());
    eventually("no loop device is left", || loops().is_empty());
}

async fn burst(server: &Server, spec: &Spec) -> Vec<Guest> {
    let began = Instant::now();
    let prepares: FuturesUnordered<_> = (0..BURST).map(|_| server.warden.prepare(spec.blank())).collect();
    let guests: Vec<Guest> = prepares.map(|sandbox| enter(sandbox.unwrap())).collect().await;
    println!("    {BURST} prepared at once: {:?}", began.elapsed());
    guests
}

fn a_hundred_at_once() {
    let world = World::start(
        |_| {},
        |side| {
            block_on(async {
                let server = Server::connect(side);
                let spec = spec(guest::runtime(&server.warden, "provided"), server.empty());
                for _ in 0..2 {
                    let mut guests = burst(&server, &spec).await;
                    let began = Instant::now();
                    let assigned = guests.iter_mut().map(|guest| guest.controls.assign(spec.assignment()));
                    for result in futures_util::future::join_all(assigned).await {
                        result.unwrap();
                    }
                    println!("    {BURST} assigned at once: {:?}", began.elapsed());
                    let began = Instant::now();
                    futures_util::future::join_all(guests.into_iter().map(Guest::end)).await;
                    println!("    {BURST} ended at once: {:?}", began.elapsed());
                }
            });
            0
        },
    );
    assert_eq!(world.wait().exit_status(), Some(1));
    assert_eq!(groups(), Default::default());
}
