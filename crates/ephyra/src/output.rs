//! How results are shown: text for people, JSON for programs; colour on terminals alone.

use std::io::{IsTerminal as _, Write as _};

use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;

/// Where and how a command prints.
pub(crate) struct Output {
    /// Whether JSON was asked for.
    pub(crate) json: bool,
    colour: bool,
}

/// A colour of the terminal's own palette.
#[derive(Clone, Copy)]
pub(crate) enum Colour {
    /// It worked.
    Green,
    /// Look here.
    Yellow,
    /// It failed.
    Red,
    /// Less important.
    Dim,
}

impl Output {
    pub(crate) fn new(json: bool) -> Self {
        let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Self { json, colour }
    }

    /// The same for what is shown on standard output alone: no colours in a pipe.
    pub(crate) fn on_stdout(&self) -> Self {
        let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Self {
            json: self.json,
            colour,
        }
    }

    /// `text` in a colour, when standard error is a terminal.
    pub(crate) fn paint(&self, colour: Colour, text: &str) -> String {
        if !self.colour {
            return text.to_owned();
        }
        let code = match colour {
            Colour::Green => 32,
            Colour::Yellow => 33,
            Colour::Red => 31,
            Colour::Dim => 2,
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }

    /// A result: `value` as JSON, or what `text` makes of it.
    pub(crate) fn result<T: Serialize>(&self, value: &T, text: impl FnOnce(&T) -> String) -> anyhow::Result<()> {
        let mut stdout = std::io::stdout().lock();
        if self.json {
            serde_json::to_writer_pretty(&mut stdout, value)?;
            stdout.write_all(b"\n")?;
        } else {
            stdout.write_all(text(value).as_bytes())?;
        }
        stdout.flush()?;
        Ok(())
    }

    /// Something a person wants to know while waiting; never in JSON mode.
    pub(crate) fn note(&self, text: &str) {
        if !self.json {
            eprintln!("{text}");
        }
    }

    /// A failure, with its causes.
    pub(crate) fn error(&self, error: &anyhow::Error) {
        let mut text = String::new();
        for (depth, cause) in error.chain().enumerate() {
            if depth > 0 {
                text.push_str(": ");
            }
            text.push_str(&cause.to_string());
        }
        if self.json {
            eprintln!("{}", serde_json::json!({ "error": text }));
        } else {
            eprintln!("{} {text}", self.paint(Colour::Red, "error:"));
        }
    }

    /// A spinner on a terminal; silent elsewhere.
    pub(crate) fn progress(&self, text: &str) -> indicatif::ProgressBar {
        if self.json || !self.colour {
            self.note(text);
            return indicatif::ProgressBar::hidden();
        }
        let bar = indicatif::ProgressBar::new_spinner().with_message(text.to_owned());
        bar.enable_steady_tick(std::time::Duration::from_millis(80));
        bar
    }
}

/// A table without lines that a person reads and `cut` can take apart.
pub(crate) fn table(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header.to_vec());
    for row in rows {
        table.add_row(row);
    }
    let mut text = String::new();
    for line in table.lines() {
        text.push_str(line.trim());
        text.push('\n');
    }
    text
}
