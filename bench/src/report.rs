//! Figures beside their bars: a table for people, JSON for machines.

use anyhow::Result;
use comfy_table::Table;
use comfy_table::presets::UTF8_BORDERS_ONLY;
use serde::Serialize;

use crate::language::Interpreters;
use crate::stats::Summary;

/// All that was measured in one run.
#[derive(Serialize)]
pub(crate) struct Report {
    machine: Machine,
    interpreters: Interpreters,
    is_quick: bool,
    figures: Vec<Figure>,
}

#[derive(Serialize)]
struct Machine {
    cores: usize,
    kernel: String,
}

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
    bar: Option<Bar>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

#[derive(Clone, Copy, Serialize)]
struct Value {
    amount: f64,
    unit: &'static str,
}

#[derive(Clone, Copy, Serialize)]
struct Bar {
    at_most: f64,
    is_met: bool,
}

impl Report {
    pub(crate) fn new(interpreters: &Interpreters, is_quick: bool) -> Result<Self> {
        Ok(Self {
            machine: Machine {
                cores: cores()?,
                kernel: std::fs::read_to_string("/proc/sys/kernel/osrelease")?.trim().to_owned(),
            },
            interpreters: interpreters.clone(),
            is_quick,
            figures: Vec::new(),
        })
    }

    /// Times without a bar.
    pub(crate) fn times(&mut self, part: &str, name: &str, times: Summary) {
        self.add(part, name, Some(times), None, None);
    }

    /// Times whose median must be at most `p50_ms` milliseconds.
    pub(crate) fn times_with_bar(&mut self, part: &str, name: &str, times: Summary, p50_ms: f64) {
        let value = Value {
            amount: times.p50_us / 1000.0,
            unit: "ms",
        };
        self.add(part, name, Some(times), Some(value), Some(p50_ms));
    }

    /// A figure without a bar.
    pub(crate) fn value(&mut self, part: &str, name: &str, amount: f64, unit: &'static str) {
        self.add(part, name, None, Some(Value { amount, unit }), None);
    }

    /// A figure that must be at most `bar`.
    pub(crate) fn value_with_bar(&mut self, part: &str, name: &str, amount: f64, unit: &'static str, bar: f64) {
        self.add(part, name, None, Some(Value { amount, unit }), Some(bar));
    }

    /// A part that could not be measured.
    pub(crate) fn failed(&mut self, part: &str, error: &anyhow::Error) {
        self.add(part, "could not be measured", None, None, None);
        if let Some(figure) = self.figures.last_mut() {
            figure.error = Some(format!("{error:#}"));
        }
    }

    fn add(&mut self, part: &str, name: &str, times: Option<Summary>, value: Option<Value>, bar: Option<f64>) {
        let bar = bar.map(|at_most| Bar {
            at_most,
            is_met: value.is_some_and(|value| value.amount <= at_most),
        });
        self.figures.push(Figure {
            part: part.to_owned(),
            name: name.to_owned(),
            times,
            value,
            bar,
            error: None,
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

    pub(crate) fn text(&self) -> String {
        let mut table = Table::new();
        table.load_style(UTF8_BORDERS_ONLY);
        table.set_header(["part", "figure", "median", "p99", "n", "value", "bar", ""]);
        for figure in &self.figures {
            let time = |of: fn(&Summary) -> f64| {
                figure
                    .times
                    .as_ref()
                    .map_or_else(String::new, |times| show_us(of(times)))
            };
            let samples = figure.times.map_or_else(String::new, |times| times.samples.to_string());
            let unit = figure.value.map_or("", |value| value.unit);
            let verdict = match (&figure.error, figure.bar) {
                (Some(_), _) => "FAIL",
                (None, Some(bar)) if bar.is_met => "PASS",
                (None, Some(_)) => "FAIL",
                (None, None) => "",
            };
            table.add_row([
                figure.part.clone(),
                figure.name.clone(),
                time(|times| times.p50_us),
                time(|times| times.p99_us),
                samples,
                figure.value.map_or_else(String::new, |value| show(value.amount, unit)),
                figure
                    .bar
                    .map_or_else(String::new, |bar| format!("≤ {}", show(bar.at_most, unit))),
                verdict.to_owned(),
            ]);
        }
        let mut text = format!(
            "{} cores, Linux {}, Python {}, Node {}{}\n{table}",
            self.machine.cores,
            self.machine.kernel,
            self.interpreters.of(crate::language::Language::Python).version,
            self.interpreters.of(crate::language::Language::Node).version,
            if self.is_quick {
                " (quick: too few samples for figures)"
            } else {
                ""
            },
        );
        for figure in &self.figures {
            if let Some(error) = &figure.error {
                text += &format!("\n{}: {error}", figure.part);
            }
        }
        text
    }
}

/// How many cores this process may use.
pub(crate) fn cores() -> Result<usize> {
    Ok(std::thread::available_parallelism()?.get())
}

fn show_us(micros: f64) -> String {
    if micros < 10_000.0 {
        show(micros, "µs")
    } else {
        show(micros / 1000.0, "ms")
    }
}

fn show(amount: f64, unit: &str) -> String {
    if amount >= 100.0 {
        format!("{amount:.0} {unit}")
    } else {
        format!("{amount:.2} {unit}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        Report::new(&Interpreters::find("python3", "node").unwrap(), false).unwrap()
    }

    #[test]
    fn a_missed_bar_or_a_missing_figure_is_a_failure() {
        let mut good = report();
        good.value_with_bar("scale", "memory", 59.0, "MiB", 60.0);
        good.value("scale", "other", 1e9, "MiB");
        assert!(good.is_good() && good.text().contains("PASS"));
        good.value_with_bar("scale", "memory", 60.1, "MiB", 60.0);
        assert!(!good.is_good() && good.text().contains("FAIL"));
        let mut failed = report();
        failed.failed("warm", &anyhow::anyhow!("it is gone"));
        assert!(!failed.is_good() && failed.text().contains("it is gone"));
        let mut absent = report();
        absent.value_with_bar("scale", "memory", f64::NAN, "MiB", 60.0);
        assert!(!absent.is_good());
    }

    #[test]
    fn the_json_holds_what_the_table_shows() {
        let mut report = report();
        let times = Summary {
            samples: 30,
            p50_us: 55_000.0,
            p99_us: 70_000.0,
            max_us: 71_000.0,
        };
        report.times_with_bar("cold", "python, 128 MB", times, 60.0);
        let json: serde_json::Value = serde_json::from_slice(&report.json().unwrap()).unwrap();
        assert_eq!(json["figures"][0]["bar"]["is_met"], true);
        assert_eq!(json["figures"][0]["times"]["samples"], 30);
        assert!(report.text().contains("55.00 ms"));
    }
}
