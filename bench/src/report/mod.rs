//! Figures beside their bars: JSON for machines, and tables for people ([`text`]).

mod text;

use anyhow::Result;
use serde::Serialize;

pub(crate) use self::text::{Grid, show, show_us};

use crate::language::Runtime;
use crate::stats::Summary;

/// All that was measured in one run.
#[derive(Serialize)]
pub(crate) struct Report {
    machine: Machine,
    runtimes: Vec<Runtime>,
    is_quick: bool,
    figures: Vec<Figure>,
    #[serde(skip)]
    grids: Vec<Grid>,
}

#[derive(Serialize)]
struct Machine {
    cores: usize,
    kernel: String,
    processor: String,
    memory_mib: u64,
    /// The machine's load before the run: above 0 it was not alone.
    load: String,
}

/// Fewer samples have no 99th percentile.
const SAMPLES_OF_P99: usize = 100;

/// One row.
#[derive(Serialize)]
struct Figure {
    part: String,
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    times: Option<Summary>,
    /// What is held against the bar, or is told by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bar: Option<Verdict>,
    /// Why it was not taken, where that is no failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    absent: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// Whether people see it in a grid, or not at all.
    #[serde(skip)]
    is_detail: bool,
}

#[derive(Clone, Copy, Serialize)]
struct Value {
    amount: f64,
    unit: &'static str,
}

/// A bar, in the unit of what is held against it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Bar {
    AtMost(f64),
    AtLeast(f64),
}

#[derive(Clone, Copy, Serialize)]
struct Verdict {
    #[serde(skip_serializing_if = "Option::is_none")]
    at_most: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    at_least: Option<f64>,
    is_met: bool,
}

impl Bar {
    /// A figure that is no number meets no bar.
    fn judge(self, amount: f64) -> Verdict {
        let (at_most, at_least, is_met) = match self {
            Self::AtMost(bar) => (Some(bar), None, amount <= bar),
            Self::AtLeast(bar) => (None, Some(bar), amount >= bar),
        };
        Verdict {
            at_most,
            at_least,
            is_met,
        }
    }
}

impl Report {
    pub(crate) fn new(runtimes: Vec<Runtime>, is_quick: bool) -> Result<Self> {
        let read = |path: &str, field: &str| {
            let text = std::fs::read_to_string(path).unwrap_or_default();
            let line = text
                .lines()
                .find_map(|line| line.strip_prefix(field))
                .unwrap_or_default();
            line.trim_start_matches([':', '\t', ' ']).trim().to_owned()
        };
        let memory: u64 = read("/proc/meminfo", "MemTotal")
            .trim_end_matches(" kB")
            .parse()
            .unwrap_or(0);
        Ok(Self {
            machine: Machine {
                cores: cores()?,
                kernel: read("/proc/sys/kernel/osrelease", ""),
                processor: read("/proc/cpuinfo", "model name"),
                memory_mib: memory / 1024,
                load: read("/proc/loadavg", "")
                    .split(' ')
                    .next()
                    .unwrap_or_default()
                    .to_owned(),
            },
            runtimes,
            is_quick,
            figures: Vec::new(),
            grids: Vec::new(),
        })
    }

    /// Times without a bar.
    pub(crate) fn times(&mut self, part: &str, name: &str, times: Summary) {
        self.add(part, name, Some(times), None, None);
    }

    /// Times whose median and 99th percentile must be at most so many milliseconds. Of fewer than a hundred samples the
    /// 99th percentile is the worst one, which nothing is held against.
    pub(crate) fn times_with_bars(&mut self, part: &str, name: &str, times: Summary, p50_ms: f64, p99_ms: Option<f64>) {
        let ms = |us: f64| {
            Some(Value {
                amount: us / 1000.0,
                unit: "ms",
            })
        };
        let title = if p99_ms.is_some() {
            format!("{name}: p50")
        } else {
            name.to_owned()
        };
        self.add(part, &title, Some(times), ms(times.p50_us), Some(Bar::AtMost(p50_ms)));
        if let Some(p99_ms) = p99_ms {
            let bar = (times.samples >= SAMPLES_OF_P99).then_some(Bar::AtMost(p99_ms));
            self.add(part, &format!("{name}: p99"), None, ms(times.p99_us), bar);
        }
    }

    /// A figure without a bar.
    pub(crate) fn value(&mut self, part: &str, name: &str, amount: f64, unit: &'static str) {
        self.add(part, name, None, Some(Value { amount, unit }), None);
    }

    /// A figure with a bar.
    pub(crate) fn value_with_bar(&mut self, part: &str, name: &str, amount: f64, unit: &'static str, bar: Bar) {
        self.add(part, name, None, Some(Value { amount, unit }), Some(bar));
    }

    /// A figure that the tables do not list: a grid shows it, or it is for those who ask for it.
    pub(crate) fn detail(&mut self, part: &str, name: &str, amount: f64, unit: &'static str) {
        self.value(part, name, amount, unit);
        self.hide_last();
    }

    /// The same for times.
    pub(crate) fn detail_times(&mut self, part: &str, name: &str, times: Summary) {
        self.times(part, name, times);
        self.hide_last();
    }

    fn hide_last(&mut self) {
        if let Some(figure) = self.figures.last_mut() {
            figure.is_detail = true;
        }
    }

    /// Figures that are compared side by side, at the head of their part.
    pub(crate) fn grid(&mut self, grid: Grid) {
        self.grids.push(grid);
    }

    /// What could not be measured although it should have been.
    pub(crate) fn failed(&mut self, part: &str, name: &str, error: &anyhow::Error) {
        self.add(part, &format!("{name}: could not be measured"), None, None, None);
        if let Some(figure) = self.figures.last_mut() {
            figure.error = Some(format!("{error:#}"));
        }
    }

    /// What is not measured because this machine does not have it.
    pub(crate) fn absent(&mut self, part: &str, name: &str, why: &str) {
        self.add(part, name, None, None, None);
        if let Some(figure) = self.figures.last_mut() {
            figure.absent = Some(why.to_owned());
        }
    }

    fn add(&mut self, part: &str, name: &str, times: Option<Summary>, value: Option<Value>, bar: Option<Bar>) {
        let bar = bar.map(|bar| bar.judge(value.map_or(f64::NAN, |value| value.amount)));
        self.figures.push(Figure {
            part: part.to_owned(),
            name: name.to_owned(),
            times,
            value,
            bar,
            absent: None,
            error: None,
            is_detail: false,
        });
    }

    /// Whether every bar is met and everything was measured.
    pub(crate) fn is_good(&self) -> bool {
        self.figures
            .iter()
            .all(|figure| figure.error.is_none() && figure.bar.is_none_or(|bar| bar.is_met))
    }

    pub(crate) fn json(&self) -> Result<Vec<u8>> {
        Ok(serde_json::to_vec_pretty(self)?)
    }

    /// Tables for people; `is_markdown` is for documents, the other for a terminal.
    pub(crate) fn text(&self, is_markdown: bool) -> String {
        text::text(self, is_markdown)
    }

    /// The parts, in their order.
    fn parts(&self) -> Vec<&str> {
        let mut parts: Vec<&str> = Vec::new();
        for figure in &self.figures {
            if !parts.contains(&figure.part.as_str()) {
                parts.push(&figure.part);
            }
        }
        parts
    }
}

/// How many cores this process may use.
pub(crate) fn cores() -> Result<usize> {
    Ok(std::thread::available_parallelism()?.get())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        Report::new(Vec::new(), false).unwrap()
    }

    #[test]
    fn a_missed_bar_or_a_missing_figure_is_a_failure() {
        let mut good = report();
        good.value_with_bar("scale", "memory", 59.0, "MiB", Bar::AtMost(60.0));
        good.value_with_bar("rate", "calls", 20.0, "/s", Bar::AtLeast(20.0));
        good.value("scale", "other", 1e9, "MiB");
        good.absent("cold", "cobol", "not on this machine");
        assert!(good.is_good() && good.text(false).contains("PASS") && !good.text(false).contains("FAIL"));
        for (amount, bar) in [
            (60.1, Bar::AtMost(60.0)),
            (f64::NAN, Bar::AtMost(60.0)),
            (59.9, Bar::AtLeast(60.0)),
            (f64::NAN, Bar::AtLeast(60.0)),
        ] {
            let mut missed = report();
            missed.value_with_bar("scale", "memory", amount, "MiB", bar);
            assert!(
                !missed.is_good() && missed.text(true).contains("FAIL"),
                "{amount} {bar:?}"
            );
        }
        let mut failed = report();
        failed.failed("warm", "python", &anyhow::anyhow!("it is gone"));
        assert!(!failed.is_good() && failed.text(false).contains("it is gone"));
    }

    #[test]
    fn the_json_holds_what_the_table_shows() {
        let mut report = report();
        let times = Summary {
            samples: 100,
            p50_us: 55_000.0,
            p99_us: 70_000.0,
            max_us: 71_000.0,
        };
        report.times_with_bars("cold", "python, 128 MB", times, 60.0, Some(69.0));
        let json: serde_json::Value = serde_json::from_slice(&report.json().unwrap()).unwrap();
        assert_eq!(json["figures"][0]["bar"]["is_met"], true);
        assert_eq!(json["figures"][0]["times"]["samples"], 100);
        assert_eq!(json["figures"][1]["bar"]["is_met"], false);
        assert!(report.text(false).contains("55.0 ms"));
        let few = Summary { samples: 99, ..times };
        report.times_with_bars("cold", "node", few, 60.0, Some(69.0));
        assert!(report.figures[2].bar.is_some() && report.figures[3].bar.is_none());
    }
}
