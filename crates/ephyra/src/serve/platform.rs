//! The server: every room but the warden's, wired together.

use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use ephyra_core::arn::Place;
use ephyra_core::id::RequestId;
use ephyra_core::limits;
use ephyra_core::url::Origin;
use ephyra_engine::Engine;
use ephyra_events::{Counted, Events, EventsOptions};
use ephyra_gateway::api::service::{ApiOptions, ApiService};
use ephyra_gateway::gateway::Gateway;
use ephyra_lambda::{Dependencies, Lambda};
use ephyra_meter::{UsageLog, UsageOptions};
use ephyra_observe::logs::{LogOptions, LogStore};
use ephyra_observe::metrics::Metrics;
use ephyra_sandbox::client::Warden;
use ephyra_sandbox::warden::ServerSide;
use ephyra_store::clock::{Clock, SystemClock};
use ephyra_store::files::FileBlobs;
use ephyra_store::sqlite::Sqlite;
use ephyra_wire::front::{Front, FrontOptions, Hints, Services};
use ephyra_wire::sigv4::{Credential, Credentials, Secret, Signer, SigningTime, UNSIGNED_PAYLOAD};
use http::{HeaderMap, HeaderValue};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::apis;
use super::builder::WardenBuilder;
use super::credentials::Root;
use super::doorway::Doorway;
use super::own::Own;
use super::plain::PlainPages;
use super::router::Router;
use super::secret::Sealed;
use super::tap::Tap;
use super::tls::Prepared;
use super::wasm;
use crate::cli;

/// Threads for what blocks: file reads, unpacking.
const BLOCKING_THREADS: usize = 16;
/// The most environments that are held ready for no function yet.
const POOL_COUNT: usize = 256;
/// The memory of the functions that the first of these are for, in MB: Lambda's default.
const EXPECTED_MEMORY_MB: u32 = 128;
/// What the host process of WebAssembly functions may use at least, in MB.
const WASM_MB: u64 = 512;
/// What is left for answers that are on their way when all invocations have ended.
const LAST_ANSWERS: Duration = Duration::from_secs(2);

/// Runs the server to its end and returns its exit status.
pub(crate) fn run(
    options: cli::Serve,
    listeners: Vec<TcpListener>,
    tls: Prepared,
    authorities: Vec<u8>,
    sealed: Option<Sealed>,
    side: ServerSide,
) -> i32 {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .thread_name("ephyra")
        .worker_threads(workers())
        .max_blocking_threads(BLOCKING_THREADS)
        .enable_all()
        .build();
    let result = runtime
        .context("the asynchronous runtime could not be started")
        .and_then(|runtime| runtime.block_on(serve(options, listeners, tls, authorities, sealed, side)));
    match result {
        Ok(()) => 0,
        Err(error) => {
            tracing::error!("{error:#}");
            1
        }
    }
}

/// One thread for each two processors: the others are the functions'. More threads take processors from those whom they
/// serve, and wake each other for every event.
fn workers() -> usize {
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    (processors / 2).max(1)
}

async fn serve(
    options: cli::Serve,
    mut listeners: Vec<TcpListener>,
    mut tls: Prepared,
    authorities: Vec<u8>,
    sealed: Option<Sealed>,
    side: ServerSide,
) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let data = side.data.clone();
    let runtimes = side.runtimes.clone();
    let metrics = Metrics::install()?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let root = match sealed {
        Some(sealed) => sealed.open()?,
        None => Root::find_or_make(&data)?,
    };
    let state = Arc::new(Sqlite::open(&data, Arc::clone(&clock))?);
    let blobs = Arc::new(FileBlobs::open(&data)?);
    let usage = Arc::new(UsageLog::open(&data, &UsageOptions::default())?);
    let log_options = LogOptions {
        max_age: options.log_retention,
        ..LogOptions::default()
    };
    let logs = Arc::new(LogStore::open(&data, log_options)?);

    let warden = Warden::connect(side.socket, side.runtimes)?;
    let builder = Arc::new(WardenBuilder::new(warden, &data).context("what runtimes boot from cannot be read")?);
    let expected: Vec<_> = builder
        .expected()
        .into_iter()
        .map(|(runtime, count)| (runtime, EXPECTED_MEMORY_MB, count))
        .collect();
    let launcher = ephyra_guest::Launcher::new(builder.clone(), logs.clone())
        .with_caches(builder.prepared())
        .context("what loading functions has made cannot be read")?
        .with_pool(pool_limits(&options)?, &expected);
    let launcher = Arc::new(launcher);
    let wasm = wasm::open(builder.warden(), &data, logs.clone(), wasm_memory_mb(&options)?)?;
    let router = Arc::new(Router::new(launcher.clone(), wasm));
    let engine = Engine::new(engine_options(&options)?, router.clone(), usage);

    let place = Place {
        region: options.region.clone(),
        account: options.account.clone(),
    };
    let address = listeners
        .first()
        .context("there is no address to listen on")?
        .local_addr()?;
    let tls_address = tls.address(address)?;
    listeners.append(&mut tls.listeners);
    let tls = tls.start(&data, dice).await?;
    let doorway = Arc::new(Doorway::default());
    let lambda_options = ephyra_lambda::Options {
        place,
        data: data.clone(),
        runtimes: runtimes.iter().map(|runtime| runtime.identifier.clone()).collect(),
        architecture: architecture().to_owned(),
        concurrency: options.concurrency,
        origin: origin(&options, address, tls_address)?,
    };
    let tap = Arc::new(Tap::new(Arc::new(engine.clone()), Arc::clone(&clock)));
    let dependencies = Dependencies {
        table: state.clone(),
        blobs,
        invoke: tap.clone(),
        accept: doorway.clone(),
        steer: Arc::new(engine.clone()),
        prepare: router,
        clock: Arc::clone(&clock),
        presign: presigner(&options, &root, address),
        dice: Arc::new(dice),
    };
    let lambda = Arc::new(Lambda::open(lambda_options, dependencies).await?);
    let event_options = EventsOptions {
        retry_base: options.event_retry_delay,
        ..EventsOptions::default()
    };
    let api_options = ApiOptions {
        place: Place {
            region: options.region.clone(),
            account: options.account.clone(),
        },
        origin: origin(&options, address, tls_address)?,
    };
    let events = Arc::new(Events::start(
        state.clone(),
        Arc::clone(&clock),
        lambda.clone(),
        tap.clone(),
        Arc::new(Counted),
        event_options,
    ));
    doorway.lead_to(events.clone());

    let credentials: Arc<dyn Credentials> = Arc::new(RootCredentials {
        access_key: root.access_key_id.clone(),
        credential: Credential {
            secret: Secret::new(root.secret_access_key.as_str()),
            account: options.account.clone(),
        },
    });
    let url_dependencies = ephyra_gateway::gateway::Dependencies {
        place: Place {
            region: options.region.clone(),
            account: options.account.clone(),
        },
        urls: lambda.clone(),
        resolve: lambda.clone(),
        invoke: tap.clone(),
        credentials: Arc::clone(&credentials),
        clock: Arc::clone(&clock),
    };
    let neighbours = apis::Neighbours {
        table: state,
        place: api_options.place.clone(),
        resolve: lambda.clone(),
        invoke: tap.clone(),
        logs: logs.clone(),
        credentials: Arc::clone(&credentials),
        clock: Arc::clone(&clock),
        authorities,
    };
    let (documents, plane) = apis::open(neighbours).await.context("the HTTP APIs cannot be read")?;
    let api_service = ApiService::new(api_options, documents, Arc::clone(&clock), Arc::new(random));
    let gateway = Gateway::new(url_dependencies, Some(Arc::new(plane)));

    let (draining, is_draining) = watch::channel(false);
    let own = Own::new(
        runtimes,
        options.account.to_string(),
        lambda.clone(),
        logs,
        tap,
        clock,
        is_draining.clone(),
    );
    let mut services = Services::default();
    services.add(
        lambda,
        Hints {
            targets: &[],
            paths: &[
                "/2015-03-31/",
                "/2021-10-31/functions/",
                "/2021-11-15/functions/",
                "/2018-10-31/layers",
            ],
        },
    );
    services.add(
        Arc::new(api_service),
        Hints {
            targets: &[],
            paths: &["/v2/apis", "/v2/domainnames", "/v2/tags/"],
        },
    );
    services.add(Arc::new(own), Hints::default());
    let front = Front {
        options: FrontOptions {
            trusted_proxies: options.front.trusted_proxy.clone(),
            compresses: !options.front.no_compression,
            ..FrontOptions::default()
        },
        region: options.region.to_string(),
        credentials,
        services,
        plain: Arc::new(PlainPages {
            engine: engine.clone(),
            metrics,
            is_draining,
        }),
        site: Some(Arc::new(gateway)),
        tls,
        clock: SystemTime::now,
    };
    let listeners = listeners
        .into_iter()
        .map(tokio::net::TcpListener::from_std)
        .collect::<std::io::Result<Vec<_>>>()?;
    let front = front.start(listeners);
    tracing::info!("serving on http://{address}");
    if let Some(address) = tls_address {
        tracing::info!("serving with TLS on https://{address}");
    }

    terminate.recv().await;
    let bound = options.drain_timeout;
    tracing::info!("going down: running invocations may finish within {bound:?}, new ones are refused");
    draining.send_replace(true);
    front.refuse_new();
    let (are_events_done, is_engine_done) = tokio::join!(events.stop(options.drain_timeout), engine.drain());
    let drained = front.shutdown(LAST_ANSWERS).await;
    if !are_events_done {
        tracing::warn!("some events were not done in time; they run again at the next start");
    }
    if !is_engine_done {
        tracing::warn!("some invocations were not done in time and were broken off");
    }
    if drained.cut > 0 {
        tracing::warn!(connections = drained.cut, "some clients had not read their answers");
    }
    launcher.close();
    tracing::info!("stopped");
    Ok(())
}

fn engine_options(options: &cli::Serve) -> anyhow::Result<ephyra_engine::Options> {
    let memory_mb = match options.memory {
        Some(memory) => memory,
        None => total_memory_mb()? / 5 * 4,
    };
    Ok(ephyra_engine::Options {
        account_concurrency: options.concurrency,
        memory_mb,
        sharing: [ephyra_wasm::RUNTIME.to_owned()].into(),
        keep_alive: options.keep_alive.time,
        is_adaptive: options.keep_alive.is_adaptive,
        queue_timeout: options.queue_timeout,
        drain_timeout: options.drain_timeout,
        ..ephyra_engine::Options::default()
    })
}

/// What the host process of WebAssembly functions may use: of a machine's memory a fifth is no environment's.
fn wasm_memory_mb(options: &cli::Serve) -> anyhow::Result<u32> {
    let memory_mb = engine_options(options)?.memory_mb / 5;
    let memory_mb = memory_mb.clamp(WASM_MB, u64::from(*limits::MEMORY_MB.end()));
    Ok(u32::try_from(memory_mb)?)
}

/// What environments that are held ready for no function yet may take.
fn pool_limits(options: &cli::Serve) -> anyhow::Result<ephyra_guest::PoolLimits> {
    let bytes = match options.pool_memory {
        cli::Memory::Megabytes(megabytes) => megabytes << 20,
        cli::Memory::Percent(0) => 0,
        cli::Memory::Percent(percent) => (total_memory_mb()? << 20) / 100 * u64::from(percent),
    };
    Ok(ephyra_guest::PoolLimits {
        bytes,
        count: POOL_COUNT,
    })
}

/// `MemTotal` of proc_meminfo(5), in MB.
fn total_memory_mb() -> anyhow::Result<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").context("/proc/meminfo cannot be read: say --memory")?;
    let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = total.and_then(|rest| rest.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    Ok(kib.context("/proc/meminfo does not say MemTotal: say --memory")? / 1024)
}

/// As AWS calls it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "aarch64" => "arm64",
        other => other,
    }
}

/// A number uniform in [0, 1), from the random part of an identifier.
fn dice() -> f64 {
    let id = RequestId::new();
    let mut bytes = [0; 8];
    bytes[2..].copy_from_slice(&id.as_bytes()[10..]);
    #[expect(clippy::cast_precision_loss, reason = "48 bits fit into a double's 53")]
    let number = u64::from_be_bytes(bytes) as f64;
    number / 48_f64.exp2()
}

/// Where clients reach function URLs.
fn origin(options: &cli::Serve, address: SocketAddr, tls: Option<SocketAddr>) -> anyhow::Result<Origin> {
    match &options.public_url {
        Some(url) => url
            .parse()
            .context("--public-url is to be a scheme, a host and a port alone"),
        None => {
            let shown = tls.unwrap_or(address);
            Ok(Origin::of_listener(shown.ip(), shown.port(), tls.is_some()))
        }
    }
}

/// A number that nobody can guess, from the random parts of an identifier.
fn random() -> u64 {
    let id = RequestId::new();
    let bytes = id.as_bytes();
    let number = |range: std::ops::Range<usize>| {
        bytes[range]
            .iter()
            .fold(0, |number, byte| number << 8 | u64::from(*byte))
    };
    number(0..6) << 16 ^ number(10..16)
}

type Presign = Arc<dyn Fn(&str, Duration) -> String + Send + Sync>;

/// Links that the root credentials have signed, at the address that clients use.
fn presigner(options: &cli::Serve, root: &Root, address: SocketAddr) -> Presign {
    let base = options.public_url.clone().unwrap_or_else(|| {
        let ip = match address.ip() {
            ip if !ip.is_unspecified() => ip,
            IpAddr::V4(_) => IpAddr::V4(std::net::Ipv4Addr::LOCALHOST),
            IpAddr::V6(_) => IpAddr::V6(std::net::Ipv6Addr::LOCALHOST),
        };
        format!("http://{}", SocketAddr::new(ip, address.port()))
    });
    let base = base.trim_end_matches('/').to_owned();
    let signer = Signer::new(
        &root.access_key_id,
        &root.secret_access_key,
        options.region.as_str(),
        "lambda",
    );
    Arc::new(move |path, life| {
        let host = base.split_once("://").map_or(base.as_str(), |(_, host)| host);
        let mut headers = HeaderMap::new();
        if let Ok(host) = HeaderValue::from_str(host) {
            headers.insert(http::header::HOST, host);
        }
        let seconds = u32::try_from(life.as_secs()).unwrap_or(u32::MAX);
        let now = SigningTime::from_clock(SystemTime::now());
        match signer.presign("GET", path, "", &headers, UNSIGNED_PAYLOAD, seconds, now) {
            Ok(query) => format!("{base}{path}?{query}"),
            Err(error) => {
                tracing::error!(%error, "a link could not be signed; it will be refused");
                format!("{base}{path}")
            }
        }
    })
}

/// One access key, which may do everything.
struct RootCredentials {
    access_key: String,
    credential: Credential,
}

impl Credentials for RootCredentials {
    fn find(&self, access_key: &str, session_token: Option<&str>) -> Option<Credential> {
        (access_key == self.access_key && session_token.is_none()).then(|| self.credential.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dice_fall_everywhere() {
        let rolls: Vec<_> = (0..1000).map(|_| dice()).collect();
        assert!(rolls.iter().all(|roll| (0.0..1.0).contains(roll)));
        for tenth in 0..10 {
            let low = f64::from(tenth) / 10.0;
            assert!(
                rolls.iter().any(|roll| (low..low + 0.1).contains(roll)),
                "nothing at {low}"
            );
        }
    }
}
