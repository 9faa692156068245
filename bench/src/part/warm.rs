//! What the platform adds to a warm call: a signed Invoke on one connection, beside the same interpreter on a pipe.
//!
//! Both take turns, so that whatever else the machine does meets both. The request is signed before the clock runs:
//! that is the client's work.

use anyhow::{Context, Result};

use super::Fresh;
use crate::Bench;
use crate::connection::Connection;
use crate::direct::Direct;
use crate::function::{self, EVENT, Spec};
use crate::language::Language;
use crate::report::Report;
use crate::stats::Summary;

/// What an Invoke may cost over the direct call, in microseconds.
const BAR_US: f64 = 250.0;
/// Calls of one turn.
const TURN: usize = 200;
/// A whole CPU, which a bare interpreter has too; and the smallest share, for information.
const MEMORY_MB: [u32; 2] = [1769, 128];

pub(crate) async fn measure(bench: &Bench, report: &mut Report) -> Result<()> {
    let fresh = Fresh::start(bench).await?;
    let mut connection = Connection::open(fresh.server.address).await?;
    for language in Language::ALL {
        for memory_mb in MEMORY_MB {
            let name = format!("warm-{}-{memory_mb}", language.name());
            let spec = Spec {
                name: &name,
                language,
                memory_mb,
            };
            function::deploy(&mut connection, &bench.interpreters, &spec).await?;
            let mut direct = Direct::start(language, bench.interpreters.of(language))?;
            let (mut invoked, mut called) = (Vec::new(), Vec::new());
            let turns = bench.samples(if memory_mb == MEMORY_MB[0] { 20 } else { 3 });
            // The first turn warms both up and is not counted.
            for turn in 0..=turns {
                let (mut one, mut other) = (Vec::with_capacity(TURN), Vec::with_capacity(TURN));
                for _ in 0..TURN {
                    one.push(function::invoke(&mut connection, &name).await?);
                }
                for _ in 0..TURN {
                    other.push(direct.call(EVENT)?);
                }
                if turn > 0 {
                    invoked.extend(one);
                    called.extend(other);
                }
            }
            let invoked = Summary::of(&invoked).context("no call was made")?;
            let called = Summary::of(&called).context("no call was made")?;
            let what = format!("{}, {memory_mb} MB", language.name());
            report.times("warm", &format!("{what}: signed Invoke"), invoked);
            report.times("warm", &format!("{what}: interpreter on a pipe"), called);
            let difference = invoked.p50_us - called.p50_us;
            let title = format!("{what}: difference of medians");
            if memory_mb == MEMORY_MB[0] {
                report.value_with_bar("warm", &title, difference, "µs", BAR_US);
            } else {
                report.value("warm", &title, difference, "µs");
            }
        }
    }
    fresh.stop().await
}
