//! Measures the embedded store: durable writes a second alone and with 64 writers, and reads inline and handed over.
//!
//! `cargo run -p ephyra-store --example durable_writes [FOLDER]`

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use ephyra_store::clock::SystemClock;
use ephyra_store::sqlite::Sqlite;
use ephyra_store::{Expect, Log as _, StoreError, Table as _};

const SPAN: Duration = Duration::from_secs(2);

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let parent = std::env::args_os()
        .nth(1)
        .map_or_else(std::env::temp_dir, PathBuf::from);
    let dir = tempfile::tempdir_in(parent)?;
    let store = Arc::new(Sqlite::open(dir.path(), Arc::new(SystemClock))?);
    println!("resident when open: {} KiB", resident_kib()?);
    for writers in [1, 64] {
        println!("put, {writers} writers: {:.0}/s", writes(&store, writers, false).await?);
        println!(
            "append, {writers} writers: {:.0}/s",
            writes(&store, writers, true).await?
        );
    }
    println!("resident after writing: {} KiB", resident_kib()?);
    reads(&store).await?;
    println!("resident after all: {} KiB", resident_kib()?);
    Ok(())
}

async fn writes(store: &Arc<Sqlite>, writers: usize, to_log: bool) -> Result<f64, Box<dyn std::error::Error>> {
    let start = Instant::now();
    let tasks: Vec<_> = (0..writers)
        .map(|writer| {
            let store = Arc::clone(store);
            tokio::spawn(async move {
                let value = Bytes::from(vec![7; 500]);
                let mut count = 0_u32;
                while start.elapsed() < SPAN {
                    if to_log {
                        store.append("bench", value.clone(), Duration::ZERO).await?;
                    } else {
                        let key = format!("function/{}", (count as usize * writers + writer) % 10_000);
                        store.put(&key, value.clone(), Expect::Any).await?;
                    }
                    count += 1;
                }
                Ok::<_, StoreError>(count)
            })
        })
        .collect();
    let mut total = 0;
    for task in tasks {
        total += task.await??;
    }
    Ok(f64::from(total) / start.elapsed().as_secs_f64())
}

async fn reads(store: &Arc<Sqlite>) -> Result<(), Box<dyn std::error::Error>> {
    const COUNT: u32 = 5_000;
    let start = Instant::now();
    for n in 0..COUNT {
        store.get(&format!("function/{}", n % 10_000)).await?;
    }
    println!("get inline: {:?}", start.elapsed() / COUNT);
    let start = Instant::now();
    for n in 0..COUNT {
        let (store, runtime) = (Arc::clone(store), tokio::runtime::Handle::current());
        let key = format!("function/{}", n % 10_000);
        tokio::task::spawn_blocking(move || runtime.block_on(store.get(&key)).map(drop)).await??;
    }
    println!("get handed over: {:?}", start.elapsed() / COUNT);
    for limit in [64, 65, 1000, 10_000] {
        let start = Instant::now();
        let rounds = 50;
        for _ in 0..rounds {
            store.scan("function/", None, limit).await?;
        }
        println!("scan of {limit}: {:?}", start.elapsed() / rounds);
    }
    Ok(())
}

fn resident_kib() -> std::io::Result<String> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    Ok(line.unwrap_or("unknown").trim().trim_end_matches(" kB").to_owned())
}
