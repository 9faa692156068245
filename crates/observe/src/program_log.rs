//! The log of the program itself, on standard error.

use std::io::{self, IsTerminal as _, Write};

use tracing::Subscriber;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::fmt::MakeWriter;

/// The variable that holds the level when the command line does not.
pub const VARIABLE: &str = "EPHYRA_LOG";
/// The level when neither says.
pub const DEFAULT: &str = "info";

/// The log could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum ProgramLogError {
    /// The level is none.
    #[error(
        "{level:?} is no log level: say error, warn, info, debug or trace, or a list such as info,ephyra_engine=debug"
    )]
    Level {
        /// What was given.
        level: String,
        /// Why.
        #[source]
        source: ParseError,
    },
    /// Most likely it was set up before.
    #[error("the log could not be installed")]
    Install(#[source] tracing::subscriber::SetGlobalDefaultError),
}

/// Sends what the program logs to standard error: coloured lines on a terminal, plain ones elsewhere. `level` is what
/// `--log-level` or [`VARIABLE`] says: a level, or levels for single rooms. Once for a process.
pub fn install(level: &str) -> Result<(), ProgramLogError> {
    let subscriber = subscriber(level, io::stderr().is_terminal(), io::stderr)?;
    tracing::subscriber::set_global_default(subscriber).map_err(ProgramLogError::Install)
}

fn subscriber<W>(level: &str, is_terminal: bool, writer: W) -> Result<impl Subscriber + Send + Sync, ProgramLogError>
where
    W: for<'w> MakeWriter<'w, Writer: Write> + Send + Sync + 'static,
{
    let filter = EnvFilter::builder()
        .parse(level)
        .map_err(|source| ProgramLogError::Level {
            level: level.to_owned(),
            source,
        })?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(is_terminal)
        // On a terminal the message is what one looks for; in a file one wants to know the room as well.
        .with_target(!is_terminal)
        .with_writer(writer);
    Ok(lines.finish())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parking_lot::Mutex;

    use super::*;

    #[derive(Clone, Default)]
    struct Captured(Arc<Mutex<Vec<u8>>>);

    impl Write for Captured {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(level: &str, is_terminal: bool) -> String {
        let captured = Captured::default();
        let writer = captured.clone();
        let subscriber = subscriber(level, is_terminal, move || writer.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(name = "hello\nworld \x1b[31m", "deployed");
            tracing::debug!("details");
        });
        let bytes = captured.0.lock().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn plain_lines_hold_nothing_but_text() {
        let text = logged("info", false);
        assert!(
            text.contains("INFO") && text.contains("deployed") && text.contains("observe"),
            "{text}"
        );
        assert!(!text.contains('\x1b') && !text.contains("details"), "{text}");
        assert_eq!(text.lines().count(), 1, "{text}");
    }

    #[test]
    fn a_terminal_gets_colour() {
        assert!(logged("info", true).contains('\x1b'));
    }

    #[test]
    fn levels_may_be_given_for_rooms() {
        assert!(logged("warn,ephyra_observe=debug", false).contains("details"));
        assert_eq!(logged("error", false), "");
    }

    #[test]
    fn a_level_that_is_none_is_refused_with_advice() {
        let refused = subscriber("loud=very", false, io::stderr)
            .err()
            .map(|error| error.to_string());
        assert!(refused.is_some_and(|text| text.contains("say error, warn")));
    }
}
