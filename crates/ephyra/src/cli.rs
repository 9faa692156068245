//! What can be said on the command line.

mod front;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

pub(crate) use front::{FrontArgs, Tls, TlsInit};

/// Where `serve` keeps its state unless told otherwise.
pub(crate) const DEFAULT_DATA: &str = "/var/lib/ephyra";

/// Run AWS Lambda functions on machines of your own.
#[derive(Debug, Parser)]
#[command(name = "ephyra", version, propagate_version = true, max_term_width = 100)]
#[command(
    after_help = "Start with `sudo ephyra serve`, then `ephyra new hello && ephyra deploy hello && ephyra invoke hello`."
)]
pub(crate) struct Cli {
    /// Print JSON instead of text
    #[arg(long, global = true)]
    pub(crate) json: bool,

    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the platform (needs root: it builds sandboxes; it serves under a uid of its own)
    Serve(Box<Serve>),
    /// Show the root credentials of a data folder
    Credentials(Credentials),
    /// Say whether this machine can run functions, and how well isolated
    Doctor(Doctor),
    /// Make a folder with a working function
    New(New),
    /// Create or update a function from a folder with an ephyra.toml
    Deploy(Deploy),
    /// Watch a folder: deploy at each change, and show the function's log and answers as they come
    Dev(Dev),
    /// Open a function's URL in the browser
    Open(Open),
    /// Call a function; print its answer, its log and its timing
    Invoke(Invoke),
    /// Show a function's log
    Logs(Logs),
    /// List functions
    List(List),
    /// Delete functions
    Delete(Delete),
    /// Runtimes on this machine
    #[command(subcommand)]
    Runtime(Runtime),
    /// Certificates for TLS on this machine
    #[command(subcommand)]
    Tls(Tls),
}

/// How long idle environments are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeepAlive {
    /// The time, when nothing better is known.
    pub(crate) time: Duration,
    /// Whether each function's own rhythm is followed.
    pub(crate) is_adaptive: bool,
}

/// `10m`, `fixed:10m`, `adaptive` or `adaptive:10m`.
fn keep_alive(text: &str) -> Result<KeepAlive, String> {
    let (is_adaptive, time) = match text.split_once(':') {
        Some(("fixed", time)) => (false, duration(time)?),
        Some(("adaptive", time)) => (true, duration(time)?),
        _ if text == "adaptive" => (true, Duration::from_secs(600)),
        _ => (false, duration(text)?),
    };
    Ok(KeepAlive { time, is_adaptive })
}

/// Reads a time such as `90`, `500ms`, `10s`, `5m`, `2h` or `14d`; a bare number is seconds.
fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number
        .parse()
        .map_err(|_| format!("{text:?} is not a time; write for example 500ms, 10s or 5m"))?;
    let milliseconds = match unit {
        "ms" => 1,
        "" | "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(format!("{unit:?} is not a unit of time; use ms, s, m, h or d")),
    };
    number
        .checked_mul(milliseconds)
        .map(Duration::from_millis)
        .ok_or_else(|| format!("{text:?} is too long"))
}

/// Takes a region of AWS's form, which clients check too: letters, a place, a number.
fn region(text: &str) -> Result<ephyra_core::id::Region, String> {
    let is_form = text.split('-').count() >= 3 && text.ends_with(|c: char| c.is_ascii_digit());
    match text.parse() {
        Ok(region) if is_form => Ok(region),
        _ => Err(format!("{text:?} is not a region such as us-east-1")),
    }
}

/// An amount of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Memory {
    /// So many hundredths of the machine's.
    Percent(u8),
    /// In MB.
    Megabytes(u64),
}

/// Takes `10%` and `512`.
fn memory(text: &str) -> Result<Memory, String> {
    let memory = match text.strip_suffix('%') {
        Some(percent) => percent
            .trim()
            .parse()
            .ok()
            .filter(|percent| *percent <= 100)
            .map(Memory::Percent),
        // What no machine has is a slip.
        None => text
            .parse()
            .ok()
            .filter(|megabytes| *megabytes <= 1 << 30)
            .map(Memory::Megabytes),
    };
    memory.ok_or_else(|| format!("{text:?} is neither a share such as 10% nor a number of MB"))
}

/// Takes the address of a web server.
fn url(text: &str) -> Result<String, String> {
    let host = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    match host {
        Some(host) if !host.is_empty() && !host.starts_with('/') => Ok(text.to_owned()),
        _ => Err(format!("{text:?} is not an address such as http://ephyra.example:4566")),
    }
}

#[derive(Args, Debug)]
pub(crate) struct Serve {
    /// Folder that holds all state; made when it is not there
    #[arg(long, value_name = "DIR", env = "EPHYRA_DATA", default_value = DEFAULT_DATA)]
    pub(crate) data: PathBuf,

    /// Address to listen on; 127.0.0.1 listens on [::1] too
    #[arg(long, value_name = "ADDR", env = "EPHYRA_LISTEN", default_value = "127.0.0.1:4566")]
    pub(crate) listen: SocketAddr,

    /// Address that clients reach this platform at, for the links it hands out [default: the listen address]
    #[arg(long, value_name = "URL", value_parser = url)]
    pub(crate) public_url: Option<String>,

    #[command(flatten)]
    pub(crate) front: FrontArgs,

    /// Region that this platform answers for
    #[arg(long, default_value = "us-east-1", value_parser = region)]
    pub(crate) region: ephyra_core::id::Region,

    /// Account that this platform answers for: 12 digits
    #[arg(long, default_value = "000000000000")]
    pub(crate) account: ephyra_core::id::AccountId,

    /// Memory that environments may reserve together, in MB [default: 80 % of the machine's]
    #[arg(long, value_name = "MB", value_parser = clap::value_parser!(u64).range(128..))]
    pub(crate) memory: Option<u64>,

    /// Memory for environments that are held ready for no function yet: a share of the machine's, or MB; 0 holds none
    #[arg(long, value_name = "SHARE|MB", value_parser = memory, default_value = "10%")]
    pub(crate) pool_memory: Memory,

    /// Invocations that may run at once
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..),
          default_value_t = ephyra_core::limits::ACCOUNT_CONCURRENCY)]
    pub(crate) concurrency: u32,

    /// How long an idle environment is kept: TIME, or `adaptive`: by the times between each function's calls, and
    /// `adaptive:TIME` while little is known of them
    #[arg(long, value_name = "TIME", value_parser = keep_alive, default_value = "adaptive:10m")]
    pub(crate) keep_alive: KeepAlive,

    /// How long a request may wait for a place on a full machine
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "10s")]
    pub(crate) queue_timeout: Duration,

    /// How long running invocations may go on after SIGTERM
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "30s")]
    pub(crate) drain_timeout: Duration,

    /// Time before the first retry of a failed event; twice this before the second
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "1m")]
    pub(crate) event_retry_delay: Duration,

    /// How long log lines are kept
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "14d")]
    pub(crate) log_retention: Duration,

    /// Go on without these pieces of isolation (see `ephyra doctor`); comma-separated
    #[arg(long, value_name = "PIECE", value_delimiter = ',')]
    pub(crate) allow_weaker_isolation: Vec<String>,

    /// First of the uids that the server and its sandboxes run under
    #[arg(long, value_name = "UID", default_value_t = ephyra_sandbox::warden::UID_BASE)]
    pub(crate) uid_base: u32,

    /// File of certificates (PEM) that other servers are believed by, besides the system's: issuers of tokens, and servers
    /// behind HTTP APIs
    #[arg(long, value_name = "FILE")]
    pub(crate) trust: Option<PathBuf>,

    /// Folder with more runtimes: interpreters in DIR/bin or DIR/*/bin
    #[arg(long, value_name = "DIR")]
    pub(crate) runtime_path: Vec<PathBuf>,

    /// What the server says of itself
    #[arg(long, value_name = "LEVEL", env = "EPHYRA_LOG", default_value = "info",
          value_parser = ["error", "warn", "info", "debug", "trace"])]
    pub(crate) log_level: String,
}

#[derive(Args, Debug)]
pub(crate) struct Credentials {
    /// The platform's data folder
    #[arg(long, value_name = "DIR", env = "EPHYRA_DATA", default_value = DEFAULT_DATA)]
    pub(crate) data: PathBuf,

    /// Print lines for a shell: eval "$(ephyra credentials --export)"
    #[arg(long)]
    pub(crate) export: bool,
}

/// Where the platform is.
#[derive(Args, Clone, Debug)]
pub(crate) struct Target {
    /// The platform's address [default: AWS_ENDPOINT_URL, or http://127.0.0.1:4566]
    #[arg(long, value_name = "URL", env = "EPHYRA_ENDPOINT")]
    pub(crate) endpoint: Option<String>,

    /// The region to sign for [default: AWS_REGION, AWS_DEFAULT_REGION, or us-east-1]
    #[arg(long)]
    pub(crate) region: Option<String>,

    /// Take the credentials from this data folder when the environment has none
    #[arg(long, value_name = "DIR", env = "EPHYRA_DATA", default_value = DEFAULT_DATA)]
    pub(crate) data: PathBuf,
}

#[derive(Args, Debug)]
pub(crate) struct Doctor {
    /// Folder with more runtimes: interpreters in DIR/bin or DIR/*/bin
    #[arg(long, value_name = "DIR")]
    pub(crate) runtime_path: Vec<PathBuf>,
}

#[derive(Args, Debug)]
pub(crate) struct New {
    /// Folder to make; its last part becomes the function's name
    pub(crate) folder: PathBuf,

    /// Runtime: python, nodejs, java, wasm, provided, or one of `ephyra runtime list`
    #[arg(long, short, default_value = "python")]
    pub(crate) runtime: String,

    /// Give it a URL that everybody may call
    #[arg(long)]
    pub(crate) url: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Deploy {
    /// Folder with the ephyra.toml
    #[arg(default_value = ".")]
    pub(crate) folder: PathBuf,

    /// Publish a version afterwards
    #[arg(long)]
    pub(crate) publish: bool,

    #[command(flatten)]
    pub(crate) target: Target,
}

#[derive(Args, Debug)]
pub(crate) struct Dev {
    /// Folder with the ephyra.toml
    #[arg(default_value = ".")]
    pub(crate) folder: PathBuf,

    /// Call the function with this event after each deployment; @FILE reads a file
    #[arg(long, short, value_name = "EVENT")]
    pub(crate) payload: Option<String>,

    #[command(flatten)]
    pub(crate) target: Target,
}

#[derive(Args, Debug)]
pub(crate) struct Open {
    /// The function
    pub(crate) name: String,

    /// The alias whose URL it is
    #[arg(long)]
    pub(crate) qualifier: Option<String>,

    /// Print the address, wherever there is a browser
    #[arg(long)]
    pub(crate) print: bool,

    #[command(flatten)]
    pub(crate) target: Target,
}

#[derive(Args, Debug)]
pub(crate) struct Invoke {
    /// The function: its name or ARN
    pub(crate) name: String,

    /// The event as JSON; @FILE reads a file, - reads standard input
    #[arg(long, short, default_value = "{}")]
    pub(crate) payload: String,

    /// The version or alias
    #[arg(long)]
    pub(crate) qualifier: Option<String>,

    /// Hand the event over and do not wait for the answer
    #[arg(long)]
    pub(crate) event: bool,

    #[command(flatten)]
    pub(crate) target: Target,
}

#[derive(Args, Debug)]
pub(crate) struct Logs {
    /// The function, or a log group, such as one that an API logs access to
    pub(crate) name: String,

    /// Go on printing lines as they come
    #[arg(long, short)]
    pub(crate) follow: bool,

    /// How far back to begin
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "1h")]
    pub(crate) since: Duration,

    /// The most lines of the past to print
    #[arg(long, value_name = "N", default_value_t = 1000)]
    pub(crate) limit: usize,

    #[command(flatten)]
    pub(crate) target: Target,
}

#[derive(Args, Debug)]
pub(crate) struct List {
    #[command(flatten)]
    pub(crate) target: Target,
}

#[derive(Args, Debug)]
pub(crate) struct Delete {
    /// The functions
    #[arg(required = true)]
    pub(crate) names: Vec<String>,

    /// Do not ask
    #[arg(long, short)]
    pub(crate) yes: bool,

    #[command(flatten)]
    pub(crate) target: Target,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Runtime {
    /// List the runtimes that functions can use on this machine
    List {
        /// Folder with more runtimes: interpreters in DIR/bin or DIR/*/bin
        #[arg(long, value_name = "DIR")]
        runtime_path: Vec<PathBuf>,
    },
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn keep_alives_are_times_or_adaptive() {
        let check = |text: &str, want: Option<(bool, u64)>| {
            let got = keep_alive(text).ok();
            assert_eq!(got.map(|got| (got.is_adaptive, got.time.as_secs())), want, "{text}");
        };
        check("1s", Some((false, 1)));
        check("fixed:5m", Some((false, 300)));
        check("adaptive", Some((true, 600)));
        check("adaptive:2m", Some((true, 120)));
        check("adaptive:", None);
        check("always", None);
        check("other:5m", None);
    }

    #[test]
    fn memory_is_a_share_or_megabytes() {
        let check = |text: &str, want: Option<Memory>| assert_eq!(memory(text).ok(), want, "{text}");
        check("10%", Some(Memory::Percent(10)));
        check("100%", Some(Memory::Percent(100)));
        check("0", Some(Memory::Megabytes(0)));
        check("512", Some(Memory::Megabytes(512)));
        for text in ["", "%", "101%", "-1", "5MB", "9999999999999", "1.5%"] {
            check(text, None);
        }
    }

    #[test]
    fn times_have_units() {
        let check = |text: &str, want: Option<u64>| {
            assert_eq!(duration(text).ok(), want.map(Duration::from_millis), "{text}");
        };
        check("90", Some(90_000));
        check("500ms", Some(500));
        check("10s", Some(10_000));
        check("5m", Some(300_000));
        check("2h", Some(7_200_000));
        check("14d", Some(1_209_600_000));
        check("", None);
        check("5 m", None);
        check("-1s", None);
        check("99999999999999999999s", None);
        check("18446744073709551615d", None);
    }
}
