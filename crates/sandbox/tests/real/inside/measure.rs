//! How long building takes. The figures are printed; the bound is wide, for a busy machine.

use std::time::{Duration, Instant};

use super::{Case, Server, cases};
use crate::guest::{Spec, create, runtime};

pub(super) const CASES: &[Case] = cases![building_is_quick, controls_are_quick, forks_are_quick_and_small];

fn print(what: &str, times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    let median = times[times.len() / 2];
    println!(
        "    {what}: p50 {median:?}, p90 {:?}, least {:?}",
        times[times.len() * 9 / 10],
        times[0]
    );
    median
}

async fn building_is_quick(server: Server) {
    for (name, layers, tmp_mb, pause) in [
        ("plain", 0, 512, 0),
        ("plain, a runtime's start apart", 0, 512, 20),
        ("a /tmp of another size", 0, 1024, 0),
        ("two layers, a runtime's start apart", 2, 512, 20),
    ] {
        let layers: Vec<_> = (0..layers).map(|n| server.package(&[(["a", "b"][n], "x")])).collect();
        let spec = Spec {
            layers,
            tmp_mb,
            runtime: runtime(&server.warden, "python3."),
            ..server.spec()
        };
        let (mut prepare, mut assign, mut end) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..100 {
            // Not a wait for anything: what is measured is how long it takes after a while.
            tokio::time::sleep(Duration::from_millis(pause)).await;
            let mut sandbox = server.warden.prepare(spec.blank()).await.unwrap();
            prepare.push(sandbox.built_in);
            let began = Instant::now();
            sandbox.controls.assign(spec.assignment()).await.unwrap();
            assign.push(began.elapsed());
            let began = Instant::now();
            sandbox.controls.end().await;
            end.push(began.elapsed());
        }
        let median = print(&format!("prepare, {name}"), &mut prepare);
        print(&format!("assign, {name}"), &mut assign);
        print(&format!("end, {name}"), &mut end);
        assert!(median < Duration::from_secs(1), "building takes {median:?}");
    }
}

/// `MemAvailable` of proc_meminfo(5), in KiB: the server sees the whole machine's.
fn available_kib() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))
        .unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

async fn forks_are_quick_and_small(server: Server) {
    const COUNT: usize = 200;
    let blank = |zygote| ephyra_sandbox::client::Blank {
        zygote,
        ..server.spec().blank()
    };
    // Its boot counts for nobody.
    server.warden.prepare(blank(true)).await.unwrap().controls.end().await;
    for (name, zygote) in [("prepare", false), ("prepare and fork", true)] {
        let mut times = Vec::new();
        for _ in 0..100 {
            let sandbox = server.warden.prepare(blank(zygote)).await.unwrap();
            times.push(sandbox.built_in);
            sandbox.controls.end().await;
        }
        let median = print(name, &mut times);
        // A bound that an emulated machine keeps, too.
        assert!(median < Duration::from_secs(1), "a fork takes {median:?}");
        let before = available_kib();
        let began = Instant::now();
        let mut all = tokio::task::JoinSet::new();
        for _ in 0..COUNT {
            let (warden, blank) = (server.warden.clone(), blank(zygote));
            all.spawn(async move { warden.prepare(blank).await.unwrap() });
        }
        let alive = all.join_all().await;
        let rate = COUNT as f64 / began.elapsed().as_secs_f64();
        let each = before.saturating_sub(available_kib()) / COUNT as u64;
        println!("    {name}: {rate:.0} a second, {each} KiB each of the machine's memory");
        for sandbox in alive {
            sandbox.controls.end().await;
        }
    }
}

async fn controls_are_quick(server: Server) {
    let mut sandbox = create(&server.warden, server.spec()).await.unwrap();
    let (mut freeze, mut thaw, mut read) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..200 {
        let began = Instant::now();
        sandbox.controls.freeze().unwrap();
        let frozen = Instant::now();
        sandbox.controls.cpu_time().unwrap();
        sandbox.controls.peak_memory_bytes().unwrap();
        let taken = Instant::now();
        sandbox.controls.thaw().unwrap();
        freeze.push(frozen - began);
        read.push(taken - frozen);
        thaw.push(taken.elapsed());
    }
    let median = print("freeze", &mut freeze);
    print("thaw", &mut thaw);
    print("read CPU and memory", &mut read);
    assert!(median < Duration::from_millis(10));
    sandbox.controls.end().await;
}
