//! Records are read back as they were written, whatever happened in between.
#![allow(clippy::unwrap_used, reason = "a test panics by design")]

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::ops::Range;
use std::path::Path;
use std::process::{Command, Stdio};

use ephyra_core::id::{RequestId, Version};
use ephyra_core::invocation::Origin;
use ephyra_core::usage::{ColdUsage, UsageOutcome, UsageRecord, UsageSink as _};
use ephyra_meter::{UsageLog, UsageOptions, UsageReader};
use proptest::prelude::*;

const DAY_MS: i64 = 86_400_000;
const TODAY: i64 = 20_780 * DAY_MS;

fn record(start_ms: i64) -> UsageRecord {
    UsageRecord {
        request_id: RequestId::new(),
        function: "hello".parse().unwrap(),
        version: Version::Latest,
        start_ms,
        duration_ms: 1.5,
        billed_ms: 2,
        memory_mb: 128,
        ephemeral_storage_mb: 512,
        peak_memory_bytes: 1,
        cpu_us: 2,
        bytes_in: 3,
        bytes_out: 4,
        cold: None,
        outcome: UsageOutcome::Success,
    }
}

fn open(dir: &Path) -> UsageLog {
    UsageLog::open(dir, &UsageOptions::default()).unwrap()
}

fn read(dir: &Path, span_ms: Range<i64>) -> Vec<UsageRecord> {
    UsageReader::open(dir, span_ms).unwrap().map(Result::unwrap).collect()
}

fn files(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir.join("usage")).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_span_is_read_across_days() {
    let dir = tempfile::tempdir().unwrap();
    assert!(read(dir.path(), 0..i64::MAX).is_empty());
    let log = open(dir.path());
    let records: Vec<_> = [-1, 0, 1, DAY_MS - 1, DAY_MS, 3 * DAY_MS]
        .map(|ms| record(TODAY + ms))
        .into();
    records.iter().for_each(|record| log.record(record));
    assert_eq!(read(dir.path(), 0..i64::MAX), records);
    // The one that ended a day later than it started is found by its start.
    assert_eq!(read(dir.path(), TODAY..TODAY + DAY_MS), records[1..4]);
    assert_eq!(read(dir.path(), TODAY + 1..TODAY + 1), []);
    assert_eq!(files(dir.path()).len(), 3);
}

#[test]
fn what_was_torn_costs_only_itself() {
    let dir = tempfile::tempdir().unwrap();
    let records = [record(TODAY), record(TODAY + 1), record(TODAY + 2)];
    open(dir.path()).record(&records[0]);
    let path = dir.path().join("usage").join(&files(dir.path())[0]);
    let mut file = File::options().append(true).open(path).unwrap();
    file.write_all(b"{\"request_id\":\"12").unwrap();
    assert_eq!(read(dir.path(), 0..i64::MAX), records[..1]);
    let log = open(dir.path());
    log.record(&records[1]);
    file.write_all(&[b'x'; 10_000]).unwrap();
    file.write_all(b"\n").unwrap();
    log.record(&records[2]);
    let mut reader = UsageReader::open(dir.path(), 0..i64::MAX).unwrap();
    assert_eq!(reader.by_ref().map(Result::unwrap).collect::<Vec<_>>(), records);
    assert_eq!(reader.skipped(), 2);
}

#[test]
fn old_days_are_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let log = UsageLog::open(dir.path(), &UsageOptions { keep_days: 2 }).unwrap();
    for day in 0..5 {
        log.record(&record(TODAY + day * DAY_MS));
    }
    fs::write(dir.path().join("usage/notes.txt"), "not ours").unwrap();
    drop(log);
    assert_eq!(files(dir.path()).len(), 4, "{:?}", files(dir.path()));
    assert_eq!(read(dir.path(), 0..i64::MAX).len(), 3);
}

#[test]
fn failures_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    fs::remove_dir(dir.path().join("usage")).unwrap();
    log.record(&record(TODAY));
    log.record(&record(TODAY));
    assert_eq!(log.failures(), 2);
    fs::create_dir(dir.path().join("usage")).unwrap();
    log.record(&record(TODAY));
    assert_eq!((log.failures(), read(dir.path(), 0..i64::MAX).len()), (2, 1));
}

/// The test starts itself anew as the process that is killed.
#[test]
fn records_survive_kill_9() {
    const DIR: &str = "EPHYRA_METER_CRASH_DIR";
    if let Some(dir) = std::env::var_os(DIR) {
        let log = open(Path::new(&dir));
        for n in 0.. {
            log.record(&record(TODAY + n));
            println!("\nrecorded {n} .");
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["records_survive_kill_9", "--exact", "--nocapture"])
        .env(DIR, dir.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut last = 0;
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut note = |line: &str| {
        let number = line.strip_prefix("recorded ").and_then(|line| line.strip_suffix(" ."));
        last = number.map_or(last, |number| number.parse().unwrap());
        last
    };
    while note(&lines.next().unwrap().unwrap()) < 500 {}
    child.kill().unwrap();
    child.wait().unwrap();
    for line in lines.map_while(Result::ok) {
        note(&line);
    }
    let starts: Vec<i64> = read(dir.path(), 0..i64::MAX)
        .iter()
        .map(|record| record.start_ms - TODAY)
        .collect();
    assert!(starts.len() > last, "{} of {last}", starts.len());
    assert!(starts.iter().copied().eq(0..i64::try_from(starts.len()).unwrap()));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_record_reads_back_as_it_was(
        // Times are measured in microseconds at best.
        times in proptest::collection::vec((any::<u32>(), 0_u32..1_000_000_000), 1..5),
        sizes in any::<[u64; 5]>(),
        cold in proptest::option::of(any::<[u64; 5]>()),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let log = open(dir.path());
        let mut records: Vec<_> = times.into_iter().map(|(start, duration_us)| UsageRecord {
            duration_ms: f64::from(duration_us) / 1000.0,
            billed_ms: sizes[0],
            peak_memory_bytes: sizes[1],
            cpu_us: sizes[2],
            bytes_in: sizes[3],
            bytes_out: sizes[4],
            cold: cold.map(|[queue_us, environment_us, boot_us, init_us, restore_us]| ColdUsage {
                queue_us,
                environment_us,
                boot_us,
                init_us,
                restore_us,
                origin: if init_us % 2 == 0 { Origin::Zygote } else { Origin::Template },
            }),
            outcome: if sizes[0] % 2 == 0 { UsageOutcome::Timeout } else { UsageOutcome::Error },
            ..record(i64::from(start) * 400)
        }).collect();
        records.iter().for_each(|record| log.record(record));
        let mut found = read(dir.path(), 0..i64::MAX);
        found.sort_by_key(|record| *record.request_id.as_bytes());
        records.sort_by_key(|record| *record.request_id.as_bytes());
        prop_assert_eq!(found, records);
    }
}
