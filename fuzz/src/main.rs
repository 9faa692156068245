//! One program for all targets: `scripts/fuzz` builds it and says by EPHYRA_FUZZ which one is meant.
//!
//! A target belongs to the crate whose parser it feeds (`src/fuzz.rs` there), where the crate's own tests feed it too. It panics where
//! the parser breaks a promise; that it neither crashes nor hangs is looked after by libFuzzer.
#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;

type Target = (&'static str, fn(&[u8]));

static TARGET: OnceLock<fn(&[u8])> = OnceLock::new();

fn targets() -> impl Iterator<Item = Target> {
    [
        ephyra_wire::fuzz::TARGETS,
        ephyra_guest::fuzz::TARGETS,
        ephyra_gateway::fuzz::TARGETS,
        ephyra_gateway::api::live::fuzz::TARGETS,
    ]
    .concat()
    .into_iter()
}

fn find() -> fn(&[u8]) {
    let wanted = std::env::var("EPHYRA_FUZZ").unwrap_or_default();
    if let Some((_, target)) = targets().find(|(name, _)| *name == wanted) {
        return target;
    }
    for (name, _) in targets() {
        println!("{name}");
    }
    std::process::exit(0)
}

fuzz_target!(
    init: {
        TARGET.get_or_init(find);
    },
    |bytes: &[u8]| {
        TARGET.get_or_init(find)(bytes);
    }
);
