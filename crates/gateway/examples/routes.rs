//! How long the selection of a route takes, beside a search through all of them.
//!
//!     cargo run --release -p ephyra-gateway --example routes

#![expect(clippy::unwrap_used, reason = "a program for developers")]

use std::hint::black_box;
use std::time::Instant;

use ephyra_gateway::api::live::route::Routes;
use ephyra_gateway::api::live::route::key::{RouteKey, Segment};
use ephyra_gateway::api::live::route::path::Path;
use http::Method;

/// Whether a route's path is a request's: what a server without a tree would ask of each.
fn is_match(key: &RouteKey, method: &Method, path: &Path<'_>) -> bool {
    let RouteKey::Path { method: of, segments } = key else {
        return false;
    };
    of.as_ref().is_none_or(|of| of == method)
        && segments.len() == path.count()
        && segments.iter().enumerate().all(|(index, segment)| match segment {
            Segment::Literal(text) => text == path.segment(index),
            Segment::Parameter(_) | Segment::Greedy(_) => true,
        })
}

/// The median of many samples, each of `each` runs, in nanoseconds a run.
fn median(each: u32, mut run: impl FnMut(usize)) -> f64 {
    let mut samples: Vec<f64> = (0..301)
        .map(|sample| {
            let start = Instant::now();
            for index in 0..each {
                run((sample * each + index) as usize);
            }
            start.elapsed().as_secs_f64() * 1e9 / f64::from(each)
        })
        .collect();
    samples.sort_by(f64::total_cmp);
    samples[samples.len() / 2]
}

fn main() {
    for count in [100_usize, 1_000, 10_000] {
        let mut keys = Vec::new();
        let mut paths = Vec::new();
        for index in 0..count {
            let (team, thing) = (index % 97, index / 97);
            keys.push(match index % 4 {
                0 => format!("GET /v1/team{team}/thing{thing}"),
                1 => format!("GET /v1/team{team}/thing{thing}/{{id}}"),
                2 => format!("POST /v1/team{team}/thing{thing}/{{id}}/parts/{{part}}"),
                _ => format!("ANY /v1/team{team}/thing{thing}/files/{{path+}}"),
            });
            paths.push(match index % 4 {
                0 => format!("/v1/team{team}/thing{thing}"),
                1 => format!("/v1/team{team}/thing{thing}/4711"),
                2 => format!("/v1/team{team}/thing{thing}/4711/parts/x%20y"),
                _ => format!("/v1/team{team}/thing{thing}/files/a/b/c.txt"),
            });
        }
        let keys: Vec<RouteKey> = keys.iter().map(|key| key.parse().unwrap()).collect();
        let routes = Routes::new(keys.clone());
        let method = |index: usize| if index % 4 == 2 { Method::POST } else { Method::GET };
        let pick = |run: usize| run.wrapping_mul(7_919) % count;
        let tree = median(200, |run| {
            let index = pick(run);
            let path = Path::new(black_box(&paths[index]));
            assert_eq!(routes.select(&method(index), &path), u32::try_from(index).ok());
        });
        let missing = median(200, |run| {
            let path = Path::new(black_box("/v1/team5/nothing/of/this/kind"));
            assert!(routes.select(&method(run), &path).is_none());
        });
        let search = median(2, |run| {
            let index = pick(run);
            let path = Path::new(black_box(&paths[index]));
            black_box(keys.iter().position(|key| is_match(key, &method(index), &path)));
        });
        println!("{count:>6} routes: tree {tree:.0} ns, none {missing:.0} ns, search through all {search:.0} ns");
    }
}
