//! The first Invoke of functions that nobody has called yet.

use anyhow::{Context, Result};

use super::Fresh;
use crate::Bench;
use crate::connection::Connection;
use crate::function::{self, Spec};
use crate::language::Language;
use crate::report::Report;
use crate::stats::Summary;

/// Functions of each kind.
const FUNCTIONS: usize = 30;
const MEMORY_MB: [u32; 2] = [128, 1769];

/// What a cold Invoke may take at the median, in milliseconds.
const fn bar_ms(language: Language) -> f64 {
    match language {
        Language::Python => 60.0,
        Language::Node => 120.0,
    }
}

pub(crate) async fn measure(bench: &Bench, report: &mut Report) -> Result<()> {
    let fresh = Fresh::start(bench).await?;
    let mut connection = Connection::open(fresh.server.address).await?;
    for language in Language::ALL {
        for memory_mb in MEMORY_MB {
            let mut times = Vec::new();
            // The first one fills the caches of files, as any earlier function would have, and is not counted.
            for number in 0..=bench.samples(FUNCTIONS) {
                let name = format!("cold-{}-{memory_mb}-{number}", language.name());
                let spec = Spec {
                    name: &name,
                    language,
                    memory_mb,
                };
                function::deploy(&mut connection, &bench.interpreters, &spec).await?;
                let took = function::invoke(&mut connection, &name).await?;
                if number > 0 {
                    times.push(took);
                }
                // Its environment goes, so that the next one does not have to make room.
                function::delete(&mut connection, &name).await?;
            }
            let times = Summary::of(&times).context("no call was made")?;
            let what = format!("{}, {memory_mb} MB: first Invoke", language.name());
            report.times_with_bar("cold", &what, times, bar_ms(language));
        }
    }
    fresh.stop().await
}
