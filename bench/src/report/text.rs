//! The report for people: a table for each part, and grids where figures of the same kind stand side by side.

use comfy_table::presets::{ASCII_MARKDOWN, UTF8_BORDERS_ONLY};
use comfy_table::{ContentArrangement, Table};

use super::{Figure, Report};
use crate::stats::Summary;

/// Columns of a terminal that a table takes at most; Markdown has no such limit.
const WIDTH: u16 = 140;
/// Where a name stands, and those columns that are left out when nobody has anything in them.
const HEADER: [&str; 7] = ["", "p50", "p99", "n", "value", "bar", ""];

/// Figures of the same kind, a row for each of those that are compared. For people alone: the JSON has them by name.
pub(crate) struct Grid {
    part: String,
    header: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Grid {
    /// Without rows so far; the first column, which is not named here, says what a row is about.
    pub(crate) fn new(part: &str, columns: &[&str]) -> Self {
        let header = std::iter::once("").chain(columns.iter().copied());
        Self {
            part: part.to_owned(),
            header: header.map(str::to_owned).collect(),
            rows: Vec::new(),
        }
    }

    /// A row with at most as many cells as there are columns.
    pub(crate) fn row(&mut self, name: &str, cells: impl IntoIterator<Item = String>) {
        self.rows.push(std::iter::once(name.to_owned()).chain(cells).collect());
    }
}

pub(super) fn text(report: &Report, is_markdown: bool) -> String {
    let mut text = heading(report);
    for part in report.parts() {
        let title = if is_markdown {
            format!("**{part}**\n")
        } else {
            part.to_owned()
        };
        text += &format!("\n\n{title}");
        let grids = report.grids.iter().filter(|grid| grid.part == part);
        for grid in grids.filter(|grid| !grid.rows.is_empty()) {
            text += &format!("\n{}", table(&grid.header, &grid.rows, is_markdown));
            if is_markdown {
                text.push('\n');
            }
        }
        let figures = report.figures.iter().filter(|figure| figure.part == part);
        let rows: Vec<_> = figures.filter(|figure| !figure.is_detail).map(row).collect();
        let is_used = |column: usize| column == 0 || rows.iter().any(|row| !row[column].is_empty());
        let keep = |row: &[String]| -> Vec<String> {
            let cells = row.iter().enumerate().filter(|(column, _)| is_used(*column));
            cells.map(|(_, cell)| cell.clone()).collect()
        };
        if !rows.is_empty() {
            let rows: Vec<_> = rows.iter().map(|row| keep(row)).collect();
            text += &format!("\n{}", table(&keep(&HEADER.map(str::to_owned)), &rows, is_markdown));
        }
    }
    for figure in &report.figures {
        if let Some(error) = &figure.error {
            text += &format!("\n{}, {}: {error}", figure.part, figure.name);
        }
    }
    text
}

fn heading(report: &Report) -> String {
    let runtimes: Vec<_> = report
        .runtimes
        .iter()
        .map(|runtime| format!("{} {}", runtime.identifier, runtime.version).trim().to_owned())
        .collect();
    let machine = &report.machine;
    format!(
        "{}, {} cores, {} MiB, Linux {}, load {}; {}{}",
        machine.processor,
        machine.cores,
        machine.memory_mib,
        machine.kernel,
        machine.load,
        runtimes.join(", "),
        if report.is_quick {
            " (quick: too few samples for figures)"
        } else {
            ""
        },
    )
}

fn table(header: &[String], rows: &[Vec<String>], is_markdown: bool) -> Table {
    let mut table = Table::new();
    if is_markdown {
        table.load_style(ASCII_MARKDOWN);
    } else {
        table.load_style(UTF8_BORDERS_ONLY);
        table.set_content_arrangement(ContentArrangement::Dynamic);
        table.set_width(WIDTH);
    }
    table.set_header(header);
    table.add_rows(rows);
    table
}

fn row(figure: &Figure) -> [String; 7] {
    let time = |of: fn(&Summary) -> f64| {
        figure
            .times
            .as_ref()
            .map_or_else(String::new, |times| show_us(of(times)))
    };
    let unit = figure.value.map_or("", |value| value.unit);
    let value = figure.value.map(|value| show(value.amount, unit));
    let bar = figure.bar.map(|bar| match (bar.at_most, bar.at_least) {
        (Some(bar), _) => format!("≤ {}", show(bar, unit)),
        (None, Some(bar)) => format!("≥ {}", show(bar, unit)),
        (None, None) => String::new(),
    });
    let verdict = match (&figure.error, figure.bar) {
        (None, Some(bar)) if bar.is_met => "PASS",
        (Some(_), _) | (None, Some(_)) => "FAIL",
        (None, None) => "",
    };
    [
        figure.name.clone(),
        time(|times| times.p50_us),
        time(|times| times.p99_us),
        figure.times.map_or_else(String::new, |times| times.samples.to_string()),
        value.or_else(|| figure.absent.clone()).unwrap_or_default(),
        bar.unwrap_or_default(),
        verdict.to_owned(),
    ]
}

/// A time in the unit that suits it.
pub(crate) fn show_us(micros: f64) -> String {
    match micros {
        ..10_000.0 => show(micros, "µs"),
        ..1e6 => show(micros / 1e3, "ms"),
        _ => show(micros / 1e6, "s"),
    }
}

/// A number with as many digits as it deserves.
pub(crate) fn show(amount: f64, unit: &str) -> String {
    let number = match amount.abs() {
        1000.0.. => grouped(amount),
        100.0.. => format!("{amount:.0}"),
        10.0.. => format!("{amount:.1}"),
        _ => format!("{amount:.2}"),
    };
    format!("{number} {unit}").trim_end().to_owned()
}

/// Whole, with a comma between thousands.
fn grouped(amount: f64) -> String {
    let digits = format!("{:.0}", amount.abs());
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if amount < 0.0 { format!("-{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Bar;

    fn report() -> Report {
        let mut report = Report::new(Vec::new(), false).unwrap();
        let times = Summary {
            samples: 300,
            p50_us: 55_000.0,
            p99_us: 70_000.0,
            max_us: 71_000.0,
        };
        report.times_with_bars("cold", "python", times, 60.0, Some(69.0));
        report.value("scale", "memory", 59.0, "MiB");
        report
    }

    #[test]
    fn a_part_has_its_own_table_without_columns_that_nobody_uses() {
        for is_markdown in [false, true] {
            let text = report().text(is_markdown);
            let scale = &text[text.find("scale").unwrap()..];
            assert!(
                scale.contains("value") && !scale.contains("p99") && !scale.contains("bar"),
                "{text}"
            );
            let cold = &text[text.find("cold").unwrap()..text.find("scale").unwrap()];
            assert!(
                cold.contains("p99") && cold.contains("55.0 ms") && cold.contains("FAIL"),
                "{text}"
            );
        }
    }

    #[test]
    fn no_line_is_wider_than_a_terminal() {
        let mut report = report();
        let long = "what a call takes when all that can be said about it is said ".repeat(4);
        report.value_with_bar("scale", &long, 1e9, "MiB", Bar::AtMost(1e9));
        let mut grid = Grid::new("scale", &["first", "second"]);
        grid.row(&long, [long.clone(), long.clone()]);
        report.grid(grid);
        // The first line is the machine's.
        let text = report.text(false);
        let widest = text.lines().skip(1).map(|line| line.chars().count()).max();
        assert!(widest.unwrap() <= usize::from(WIDTH), "{text}");
        assert!(report.text(true).lines().any(|line| line.contains(&long)));
    }

    #[test]
    fn details_are_in_the_json_alone_and_grids_in_the_table() {
        let mut report = report();
        report.detail("trace", "adaptive, starts", 12_345.0, "");
        let mut grid = Grid::new("trace", &["starts"]);
        grid.row("adaptive", [show(12_345.0, "")]);
        report.grid(grid);
        report.grid(Grid::new("trace", &["nobody"]));
        let (text, json) = (report.text(true), String::from_utf8(report.json().unwrap()).unwrap());
        assert!(
            text.contains("| adaptive | 12,345 |") && !text.contains("adaptive, starts"),
            "{text}"
        );
        assert!(!text.contains("nobody"));
        assert!(json.contains("adaptive, starts") && json.contains("12345"));
    }

    #[test]
    fn numbers_are_shown_with_three_digits_or_all() {
        for (amount, want) in [
            (0.5, "0.50 x"),
            (12.34, "12.3 x"),
            (123.4, "123 x"),
            (1_234_567.0, "1,234,567 x"),
        ] {
            assert_eq!(show(amount, "x"), want);
        }
        for (micros, want) in [
            (9.5, "9.50 µs"),
            (9999.0, "9,999 µs"),
            (55_000.0, "55.0 ms"),
            (2.5e6, "2.50 s"),
        ] {
            assert_eq!(show_us(micros), want);
        }
    }
}
