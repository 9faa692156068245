//! A day of calls in the shape of a public trace, run through the scheduler without a clock: how often a call is cold,
//! and what the environments that wait for calls cost, with a fixed keep-alive and with each function's own rhythm.
//!
//! The shape is made from figures published by Shahrad et al. about Azure Functions ("Serverless in the Wild", ATC
//! 2020), not from the trace itself: rates over eight orders of magnitude, 45 % of the applications called once an hour
//! or less and 81 % once a minute or less; timers among them, and calls in bursts; times and memory by the
//! distributions that they fitted. Calls above one in ten seconds are thinned, and each counts for those left out.
//!
//! `cargo run --release -p ephyra-engine --example trace [--json] [FUNCTIONS [DAYS]]`
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a program for measuring")]

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ephyra_core::digest::Digest;
use ephyra_core::environment::Purpose;
use ephyra_core::id::{RevisionId, Version};
use ephyra_core::revision::{LogFormat, LogLevel, Logging, Revision};
use options::Options;
use scheduler::{Admission, Effect, Scheduler, Slot, Ticket};

#[allow(dead_code, unreachable_pub, reason = "what the engine alone uses of it")]
#[path = "../src/options.rs"]
mod options;
#[allow(
    dead_code,
    unreachable_pub,
    unused_imports,
    reason = "what the engine alone uses of it"
)]
#[path = "../src/scheduler/mod.rs"]
mod scheduler;

const DAY: f64 = 86_400.0;
/// Calls a day of one function that are simulated; of more, each stands for several.
const MOST_CALLS: f64 = 8640.0;
/// Calls a day up to which a function counts as rare: one a minute.
const RARE: f64 = 1440.0;
/// How long a start takes: the platform's part.
const START: f64 = 0.006;

/// splitmix64: the same numbers each time.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// In (0, 1).
    #[expect(clippy::cast_precision_loss, reason = "53 bits are enough")]
    fn uniform(&mut self) -> f64 {
        ((self.next() >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
    }

    fn exponential(&mut self, mean: f64) -> f64 {
        -self.uniform().ln() * mean
    }

    fn normal(&mut self) -> f64 {
        (-2.0 * self.uniform().ln()).sqrt() * (std::f64::consts::TAU * self.uniform()).cos()
    }
}

/// Calls a day of the function at this place of all, in order of their rates: the published points, joined by straight
/// lines over the logarithm. The ends are a call a week and 10^8 calls a day.
fn rate(place: f64) -> f64 {
    const POINTS: [(f64, f64); 5] = [(0.0, -0.85), (0.45, 1.38), (0.81, 3.158), (0.99, 5.5), (1.0, 8.0)];
    let at = POINTS.windows(2).find(|pair| place <= pair[1].0).unwrap();
    let ((x0, y0), (x1, y1)) = (at[0], at[1]);
    10_f64.powf(y0 + (y1 - y0) * (place - x0) / (x1 - x0))
}

/// How a function's calls follow each other.
enum Pattern {
    /// At fixed times.
    Timer(f64),
    /// Independent of each other, more by day than by night.
    Poisson(f64),
    /// Several in a row, then none for long.
    Bursts(f64),
}

struct Function {
    revision: Arc<Revision>,
    rate: f64,
    pattern: Pattern,
    /// Seconds of a run.
    run: f64,
    /// Seconds of initialising.
    init: f64,
}

impl Function {
    fn new(place: f64, number: usize, numbers: &mut Numbers) -> Self {
        let rate = rate(place);
        let interval = DAY / rate.min(MOST_CALLS);
        let pattern = match numbers.uniform() {
            // As schedules are written: a round number of minutes.
            kind if kind < 0.29 => Pattern::Timer((interval / 60.0).round().max(1.0) * 60.0),
            kind if kind < 0.65 => Pattern::Poisson(interval),
            _ => Pattern::Bursts(interval),
        };
        // Averages of runs: log-normal, mu -0.38 and sigma 2.36 in seconds. Memory: Burr, 107 MB, c 11.65, k 0.221.
        let run = (-0.38 + 2.36 * numbers.normal()).exp().clamp(0.001, 300.0);
        let memory = 107.083 * (numbers.uniform().powf(-1.0 / 0.221) - 1.0).powf(1.0 / 11.652);
        let init = (0.15_f64.ln() + 0.8 * numbers.normal()).exp().min(5.0);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is clamped")]
        let memory_mb = memory.clamp(128.0, 1024.0) as u32;
        Self {
            revision: revision(&format!("f{number}"), memory_mb),
            rate,
            pattern,
            run: run.min(interval * 4.0),
            init,
        }
    }

    /// All calls, in seconds from the start.
    fn calls(&self, days: f64, numbers: &mut Numbers) -> Vec<f64> {
        let end = days * DAY;
        let mut calls = Vec::new();
        match self.pattern {
            Pattern::Timer(period) => {
                let mut at = numbers.uniform() * period;
                while at < end {
                    calls.push(at + numbers.uniform());
                    at += period;
                }
            }
            Pattern::Poisson(interval) => {
                let mut at = 0.0;
                loop {
                    at += numbers.exponential(interval / 1.5);
                    if at >= end {
                        break;
                    }
                    // Half as often at night as by day.
                    let by_day = 0.5 + 0.5 * (std::f64::consts::TAU * at / DAY).sin().max(0.0);
                    if numbers.uniform() < by_day {
                        calls.push(at);
                    }
                }
            }
            Pattern::Bursts(interval) => {
                let mut at = numbers.exponential(interval);
                while at < end {
                    let mut burst = at;
                    for _ in 0..1 + numbers.next() % 8 {
                        calls.push(burst);
                        burst += numbers.exponential((interval / 20.0).min(120.0));
                    }
                    at = burst + numbers.exponential(interval * 4.0);
                }
            }
        }
        calls.retain(|at| *at < end);
        calls
    }

    /// How many calls each simulated one stands for.
    fn weight(&self) -> f64 {
        (self.rate / MOST_CALLS).max(1.0)
    }
}

fn revision(function: &str, memory_mb: u32) -> Arc<Revision> {
    Arc::new(Revision {
        id: RevisionId::new(),
        function: function.parse().unwrap(),
        version: Version::Latest,
        function_arn: String::new(),
        runtime: String::new(),
        handler: String::new(),
        code: Digest::of(b""),
        layers: Vec::new(),
        memory_mb,
        ephemeral_storage_mb: 512,
        timeout_seconds: 900,
        variables: Vec::new(),
        logging: Logging {
            format: LogFormat::Text,
            application_level: LogLevel::Info,
            system_level: LogLevel::Info,
            group: String::new(),
        },
    })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Happening {
    Call(usize),
    Started(Slot),
    Done(Slot),
}

/// What a run of the trace came to.
#[derive(Default)]
struct Tally {
    calls: f64,
    cold: f64,
    /// By function: calls that were simulated, and cold ones.
    functions: Vec<(u32, u32)>,
    /// Seconds that calls waited, by function of up to one call a minute.
    waits: Vec<f64>,
    /// MB times seconds of environments that no call used.
    idle_mb_s: f64,
    busy_mb_s: f64,
    starts: u64,
    most_mb: u64,
}

struct Run<'a> {
    functions: &'a [Function],
    scheduler: Scheduler,
    heap: BinaryHeap<Reverse<(u64, Happening)>>,
    waiting: HashMap<Ticket, (usize, u64)>,
    of_slot: HashMap<Slot, usize>,
    by_revision: HashMap<RevisionId, usize>,
    busy_mb: u64,
    tally: Tally,
    zero: Instant,
    now: u64,
}

impl Run<'_> {
    fn instant(&self) -> Instant {
        self.zero + Duration::from_micros(self.now)
    }

    fn plan(&mut self, seconds: f64, happening: Happening) {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a few days in microseconds"
        )]
        let at = self.now + (seconds * 1e6) as u64;
        self.heap.push(Reverse((at, happening)));
    }

    fn pass(&mut self, until: u64) {
        #[expect(clippy::cast_precision_loss, reason = "a few days in microseconds")]
        let seconds = (until - self.now) as f64 / 1e6;
        let reserved = self.scheduler.reserved_mb();
        #[expect(clippy::cast_precision_loss, reason = "memory in MB")]
        let (idle, busy) = ((reserved - self.busy_mb) as f64, self.busy_mb as f64);
        self.tally.idle_mb_s += idle * seconds;
        self.tally.busy_mb_s += busy * seconds;
        self.tally.most_mb = self.tally.most_mb.max(reserved);
        self.now = until;
    }

    fn serve(&mut self, function: usize, slot: Slot, is_cold: bool, waited: f64) {
        let one = &self.functions[function];
        self.tally.functions[function].0 += 1;
        self.tally.calls += one.weight();
        if is_cold {
            self.tally.functions[function].1 += 1;
            self.tally.cold += 1.0;
        }
        if one.rate <= RARE {
            self.tally.waits.push(waited);
        }
        self.busy_mb += u64::from(one.revision.memory_mb);
        self.plan(one.run, Happening::Done(slot));
    }

    fn follow(&mut self, mut effects: Vec<Effect>) {
        while !effects.is_empty() {
            let mut more = Vec::new();
            for effect in std::mem::take(&mut effects) {
                let now = self.instant();
                match effect {
                    Effect::Start {
                        slot,
                        revision,
                        purpose,
                    } => {
                        let function = self.by_revision[&revision.id];
                        self.of_slot.insert(slot, function);
                        self.tally.starts += 1;
                        assert!(matches!(purpose, Purpose::OnDemand | Purpose::Prewarmed));
                        self.plan(START + self.functions[function].init, Happening::Started(slot));
                    }
                    Effect::Grant { ticket, lease } => {
                        let (function, since) = self.waiting.remove(&ticket).unwrap();
                        #[expect(clippy::cast_precision_loss, reason = "a few days in microseconds")]
                        let waited = (self.now - since) as f64 / 1e6;
                        self.serve(function, lease.slot, lease.cold, waited);
                    }
                    Effect::End { slot } => {
                        self.of_slot.remove(&slot);
                        self.scheduler.ended(slot, now, &mut more);
                    }
                    Effect::Freeze { slot } => self.scheduler.parked(slot, now, &mut more),
                    other => panic!("{other:?}"),
                }
            }
            effects = more;
        }
    }

    fn go(mut self, end: u64) -> (Tally, scheduler::Forecasts) {
        loop {
            let wake = self.scheduler.wake_at().map(|at| {
                let at = at.saturating_duration_since(self.zero).as_micros();
                u64::try_from(at).unwrap().max(self.now)
            });
            let next = self.heap.peek().map(|Reverse((at, _))| *at);
            let at = wake.into_iter().chain(next).min().unwrap_or(end);
            if at >= end {
                self.pass(end);
                return (self.tally, self.scheduler.forecasts());
            }
            self.pass(at);
            let now = self.instant();
            let mut effects = Vec::new();
            if wake == Some(at) {
                self.scheduler.tick(now, &mut effects);
            } else if let Some(Reverse((_, happening))) = self.heap.pop() {
                match happening {
                    Happening::Call(function) => {
                        let revision = Arc::clone(&self.functions[function].revision);
                        match self.scheduler.request(&revision, now, &mut effects).unwrap() {
                            Admission::Run(lease) => self.serve(function, lease.slot, lease.cold, 0.0),
                            Admission::Wait(ticket) => drop(self.waiting.insert(ticket, (function, self.now))),
                        }
                    }
                    Happening::Started(slot) => self.scheduler.started(slot, None, now, &mut effects),
                    Happening::Done(slot) => {
                        let function = self.of_slot[&slot];
                        self.busy_mb -= u64::from(self.functions[function].revision.memory_mb);
                        self.scheduler.released(slot, Some(Duration::ZERO), now, &mut effects);
                    }
                }
            }
            self.follow(effects);
        }
    }
}

fn percentile(sorted: &[f64], percent: usize) -> f64 {
    sorted
        .get((sorted.len() * percent / 100).min(sorted.len().saturating_sub(1)))
        .copied()
        .unwrap_or_default()
}

/// What is told of a run.
struct Figures([(&'static str, f64); 13]);

const HEADING: &str = "keep-alive              cold all  fn p50  fn p75 cold rare  wait p99  idle GB  busy GB  most GB   \
                       starts  expected  in vain  no room       s";

impl Figures {
    fn of(functions: &[Function], tally: &mut Tally, forecasts: scheduler::Forecasts, days: f64) -> Self {
        let mut shares: Vec<f64> = tally
            .functions
            .iter()
            .filter(|(calls, _)| *calls > 0)
            .map(|(calls, cold)| 100.0 * f64::from(*cold) / f64::from(*calls))
            .collect();
        shares.sort_by(f64::total_cmp);
        tally.waits.sort_by(f64::total_cmp);
        let rare: (u32, u32) = functions
            .iter()
            .zip(&tally.functions)
            .filter(|(function, _)| function.rate <= RARE)
            .fold((0, 0), |sum, (_, (calls, cold))| (sum.0 + calls, sum.1 + cold));
        let gb = |mb_s: f64| mb_s / (days * DAY) / 1024.0;
        #[expect(clippy::cast_precision_loss, reason = "they are below 2^52")]
        let number = |number: u64| number as f64;
        Self([
            ("cold share of all calls, %", 100.0 * tally.cold / tally.calls),
            ("cold share of a function's calls, median, %", percentile(&shares, 50)),
            (
                "cold share of a function's calls, 75th percentile, %",
                percentile(&shares, 75),
            ),
            (
                "cold share, functions of up to a call a minute, %",
                100.0 * f64::from(rare.1) / f64::from(rare.0),
            ),
            (
                "wait for an environment at p99, the same, ms",
                percentile(&tally.waits, 99) * 1000.0,
            ),
            ("memory that waits for calls, GB", gb(tally.idle_mb_s)),
            ("memory in use, GB", gb(tally.busy_mb_s)),
            ("most memory, GB", number(tally.most_mb) / 1024.0),
            ("starts", number(tally.starts)),
            ("calls expected", number(forecasts.right)),
            ("calls expected in vain", number(forecasts.wrong)),
            ("calls expected without room", number(forecasts.skipped)),
            ("days", days),
        ])
    }

    fn to_json(&self) -> String {
        let members: Vec<String> = self
            .0
            .iter()
            .map(|(name, value)| format!("{name:?}:{value:.4}"))
            .collect();
        format!("{{{}}}", members.join(","))
    }

    fn to_text(&self) -> String {
        let [
            all,
            p50,
            p75,
            rare,
            wait,
            idle,
            busy,
            most,
            starts,
            right,
            wrong,
            skipped,
            _,
        ] = self.0.map(|(_, value)| value);
        format!(
            "{all:>8.4}% {p50:>6.1}% {p75:>6.1}% {rare:>8.2}% {wait:>7.0}ms {idle:>8.2} {busy:>8.2} {most:>8.2} \
             {starts:>8} {right:>9} {wrong:>8} {skipped:>8}"
        )
    }
}

fn main() {
    let (flags, numbers): (Vec<_>, Vec<_>) = std::env::args().skip(1).partition(|text| text.starts_with("--"));
    let is_json = flags.iter().any(|flag| flag == "--json");
    let mut arguments = numbers.into_iter();
    let count: usize = arguments.next().map_or(2000, |text| text.parse().unwrap());
    let days: f64 = arguments.next().map_or(1.0, |text| text.parse().unwrap());
    let mut numbers = Numbers(2020);
    #[expect(clippy::cast_precision_loss, reason = "there are few functions")]
    let functions: Vec<Function> = (0..count)
        .map(|number| Function::new((number as f64 + 0.5) / count as f64, number, &mut numbers))
        .collect();
    let calls: Vec<Vec<f64>> = functions.iter().map(|one| one.calls(days, &mut numbers)).collect();
    let simulated: usize = calls.iter().map(Vec::len).sum();
    if !is_json {
        println!("{count} functions, {days} days, {simulated} calls simulated");
        println!("{HEADING}");
    }
    let mut documents = Vec::new();
    for (name, is_adaptive, minutes, memory_mb) in [
        ("fixed 10 min", false, 10, 1 << 20),
        ("adaptive", true, 10, 1 << 20),
        ("fixed 20 min", false, 20, 1 << 20),
        ("fixed 60 min", false, 60, 1 << 20),
        ("fixed 10 min, 256 GB", false, 10, 256 << 10),
        ("adaptive, 256 GB", true, 10, 256 << 10),
    ] {
        let options = Options {
            account_concurrency: 1_000_000,
            memory_mb,
            keep_alive: Duration::from_secs(minutes * 60),
            is_adaptive,
            max_queue: 1_000_000,
            max_queue_per_function: 1_000_000,
            max_starting: 64,
            max_growing: 64,
            ..Options::default()
        };
        let began = Instant::now();
        let mut run = Run {
            scheduler: Scheduler::new(options),
            by_revision: functions
                .iter()
                .enumerate()
                .map(|(number, one)| (one.revision.id, number))
                .collect(),
            functions: &functions,
            heap: BinaryHeap::new(),
            waiting: HashMap::new(),
            of_slot: HashMap::new(),
            busy_mb: 0,
            tally: Tally {
                functions: vec![(0, 0); count],
                ..Tally::default()
            },
            zero: Instant::now(),
            now: 0,
        };
        for (number, calls) in calls.iter().enumerate() {
            for at in calls {
                run.plan(*at, Happening::Call(number));
            }
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a few days in microseconds"
        )]
        let (mut tally, forecasts) = run.go((days * DAY * 1e6) as u64);
        let figures = Figures::of(&functions, &mut tally, forecasts, days);
        if is_json {
            documents.push(format!("{name:?}:{}", figures.to_json()));
        } else {
            println!(
                "{name:<22} {} {:>7.1}",
                figures.to_text(),
                began.elapsed().as_secs_f64()
            );
        }
    }
    if is_json {
        println!("{{{}}}", documents.join(","));
    }
}
