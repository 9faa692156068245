//! Two thousand functions that are called as a public cloud sees it: a few all the time, most hardly ever.
//!
//! The keep-alive policies are compared over a whole day by the scheduler's own simulation (`cargo run --release -p
//! ephyra-engine --example trace`), whose figures are taken over here; time itself cannot be compressed for a real
//! server. What is run for real is the mix: as many functions with the same spread of popularity, called one after
//! the other without a pause.

use std::collections::HashSet;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use super::names;
use crate::Bench;
use crate::crowd::Crowd;
use crate::function::{Api, invocation};
use crate::language::Language;
use crate::process;
use crate::report::{Grid, Report, show};
use crate::stats::Summary;

const FUNCTIONS: usize = 2000;
const CALLS: usize = 30_000;
const CONNECTIONS: usize = 8;
const MEMORY_MB: u32 = 128;
/// Between the least and the most popular function.
const ORDERS_OF_MAGNITUDE: f64 = 8.0;
/// What is shown of a policy: the title, the simulation's own name, the unit.
const COLUMNS: [(&str, &str, &str); 7] = [
    ("cold, of all calls", "cold share of all calls, %", "%"),
    (
        "of the median function's",
        "cold share of a function's calls, median, %",
        "%",
    ),
    (
        "of those of rare functions",
        "cold share, functions of up to a call a minute, %",
        "%",
    ),
    (
        "their wait at p99",
        "wait for an environment at p99, the same, ms",
        "ms",
    ),
    ("idle memory", "memory that waits for calls, GB", "GB"),
    ("most memory", "most memory, GB", "GB"),
    ("starts", "starts", ""),
];
const SIMULATION_TIME: Duration = Duration::from_secs(300);

pub(crate) fn measure(bench: &Bench, report: &mut Report) -> Result<()> {
    if let Err(error) = simulated(bench, report) {
        report.failed("trace", "the simulated day", &error);
    }
    real(bench, report)
}

/// Every number that the simulation says, as it names it; and the most telling of them, policy by policy.
fn simulated(bench: &Bench, report: &mut Report) -> Result<()> {
    let program = bench.program.executable.with_file_name("examples").join("trace");
    if !program.exists() {
        let how = "build it: cargo build --release -p ephyra-engine --example trace";
        report.absent("trace", "a simulated day of 2,000 functions", how);
        return Ok(());
    }
    let mut command = Command::new(&program);
    command.arg("--json");
    let text = process::run(command, SIMULATION_TIME)?;
    let said: Value = serde_json::from_str(&text).context("the simulation says JSON")?;
    flatten(&said, "", &mut |name, amount| {
        report.detail("trace", &format!("simulated day: {name}"), amount, "")
    });
    report.grid(by_policy(&said)?);
    Ok(())
}

/// A row for each policy.
fn by_policy(said: &Value) -> Result<Grid> {
    let mut grid = Grid::new("trace", &COLUMNS.map(|(title, ..)| title));
    for (policy, figures) in said.as_object().context("the simulation says an object")? {
        let cells = COLUMNS.iter().map(|(_, name, unit)| {
            let amount = figures[name].as_f64();
            let amount = amount.with_context(|| format!("the simulation does not say {name:?} of {policy}"))?;
            Ok(show(amount, unit))
        });
        grid.row(policy, cells.collect::<Result<Vec<_>>>()?);
    }
    Ok(grid)
}

fn flatten(value: &Value, name: &str, tell: &mut impl FnMut(&str, f64)) {
    let inner = |key: &str| {
        if name.is_empty() {
            key.to_owned()
        } else {
            format!("{name}, {key}")
        }
    };
    match value {
        Value::Object(members) => members
            .iter()
            .for_each(|(key, value)| flatten(value, &inner(key), tell)),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .for_each(|(index, value)| flatten(value, &inner(&index.to_string()), tell)),
        Value::Number(number) => tell(name, number.as_f64().unwrap_or(f64::NAN)),
        _ => {}
    }
}

fn real(bench: &Bench, report: &mut Report) -> Result<()> {
    let server = bench.program.start(&[])?;
    let mut api = Api::open(server.address)?;
    let names = names("trace", bench.samples(FUNCTIONS));
    api.deploy_many(&bench.languages, |_| Language::Python, MEMORY_MB, &names)?;
    api.until_all_ready(&names)?;
    let requests = names
        .iter()
        .map(|name| invocation(server.address, name))
        .collect::<Result<Vec<_>>>()?;
    let order = calls(names.len(), bench.samples(CALLS));
    let mut next = order.iter();
    let run = Crowd::open(server.address, CONNECTIONS)?
        .run(|_| next.next().map(|number| requests[*number].clone()))?
        .all_good("the mix")?;
    let first: HashSet<_> = order.iter().collect();
    let share = first.len() as f64 / order.len() as f64 * 100.0;
    let title = format!(
        "{} calls of {} functions as popular as in a cloud",
        order.len(),
        names.len()
    );
    report.times("trace", &title, Summary::of(&run.times()).context("no call was made")?);
    report.value("trace", "calls a second", run.rate(), "/s");
    report.value("trace", "share of functions' first calls", share, "%");
    server.stop()
}

/// Which function each call is for: popularity falls evenly over the orders of magnitude.
fn calls(functions: usize, count: usize) -> Vec<usize> {
    let weight = |number: usize| 10f64.powf(-ORDERS_OF_MAGNITUDE * number as f64 / functions as f64);
    let sums: Vec<f64> = (0..functions)
        .scan(0.0, |sum, number| {
            *sum += weight(number);
            Some(*sum)
        })
        .collect();
    let all = sums.last().copied().unwrap_or_default();
    // The same mix in every run.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    (0..count)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let point = (state >> 11) as f64 / (1u64 << 53) as f64 * all;
            sums.partition_point(|sum| *sum <= point)
                .min(functions.saturating_sub(1))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_functions_get_most_of_the_calls() {
        let calls = calls(2000, 20_000);
        let popular = calls.iter().filter(|number| **number < 250).count();
        assert!(popular > 17_000 && popular < 19_000, "{popular}");
        assert!(calls.iter().collect::<HashSet<_>>().len() > 300);
    }

    #[test]
    fn every_number_of_the_simulation_is_told() {
        let said = serde_json::json!({ "fixed": { "cold": 0.5, "note": "x" }, "list": [1, 2] });
        let mut told = Vec::new();
        flatten(&said, "", &mut |name, amount| told.push((name.to_owned(), amount)));
        let want = [("fixed, cold", 0.5), ("list, 0", 1.0), ("list, 1", 2.0)];
        assert_eq!(told, want.map(|(name, amount)| (name.to_owned(), amount)));
    }

    #[test]
    fn a_policy_is_a_row_and_a_figure_that_is_missing_an_error() {
        let figures: serde_json::Map<_, _> = COLUMNS
            .iter()
            .map(|(_, name, _)| ((*name).to_owned(), 0.5.into()))
            .collect();
        let mut said = serde_json::json!({ "adaptive": figures });
        assert!(by_policy(&said).is_ok());
        said["adaptive"].as_object_mut().unwrap().remove("starts");
        let error = by_policy(&said).err().unwrap();
        assert!(error.to_string().contains("\"starts\" of adaptive"), "{error}");
    }
}
