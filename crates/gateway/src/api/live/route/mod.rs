//! Which route takes a request, by AWS's order.
//!
//! Source: <https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-routes.html>.

pub mod key;
pub mod path;
#[cfg(test)]
mod tests;
mod trie;

use http::Method;

use key::{RouteKey, Segment};
use path::Path;
pub use trie::RouteIndex;
use trie::Tree;

/// The routes of a stage, ready for selection.
#[derive(Debug)]
pub struct Routes {
    tree: Tree,
    keys: Vec<RouteKey>,
}

impl Routes {
    /// Compiles routes; they are named by their places in `keys` from then on.
    pub fn new(keys: Vec<RouteKey>) -> Self {
        Self {
            tree: Tree::new(&keys),
            keys,
        }
    }

    /// The route that takes a request, if there is one.
    pub fn select(&self, method: &Method, path: &Path<'_>) -> Option<RouteIndex> {
        self.tree.select(method, path)
    }

    /// The path parameters that a route has in a request that it takes: names and decoded values, in the order of the path.
    pub fn parameters<'a>(&'a self, route: RouteIndex, path: &'a Path<'_>) -> impl Iterator<Item = (&'a str, String)> {
        let segments = match self.keys.get(route as usize) {
            Some(RouteKey::Path { segments, .. }) => segments.as_slice(),
            Some(RouteKey::Default) | None => &[],
        };
        segments
            .iter()
            .enumerate()
            .filter_map(|(index, segment)| match segment {
                Segment::Literal(_) => None,
                Segment::Parameter(name) => Some((name.as_str(), path.segment(index).to_owned())),
                Segment::Greedy(name) => Some((name.as_str(), path.from(index).into_owned())),
            })
    }

    /// What a greedy variable of a route stands for, as sent.
    pub fn greedy_rest<'a>(&self, route: RouteIndex, path: &Path<'a>) -> Option<&'a str> {
        let Some(RouteKey::Path { segments, .. }) = self.keys.get(route as usize) else {
            return None;
        };
        let last = segments.len().checked_sub(1)?;
        matches!(segments[last], Segment::Greedy(_)).then(|| path.raw_from(last))
    }
}
