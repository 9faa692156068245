//! Routes compiled into a tree of segments.

use std::collections::HashMap;

use http::Method;

use super::key::{RouteKey, Segment};
use super::path::Path;

/// Names a route by its place in the list that the tree was made of.
pub type RouteIndex = u32;

/// All routes of a stage, ready for selection.
///
/// The order is AWS's: a route for the whole path goes before one with a greedy variable, and that before `$default`. Of
/// several for the whole path, a literal segment goes before a variable, from left to right; of several greedy ones, the
/// longest prefix goes first. A route for the method goes before `ANY` of the same path, and a path that has no route for the
/// method is as if it were not there.
#[derive(Debug, Default)]
pub(super) struct Tree {
    nodes: Vec<Node>,
    default: Option<RouteIndex>,
}

#[derive(Debug, Default)]
struct Node {
    literals: HashMap<Box<str>, u32>,
    variable: Option<u32>,
    whole: Methods,
    greedy: Methods,
}

/// The routes of one path.
#[derive(Debug, Default)]
struct Methods {
    exact: Vec<(Method, RouteIndex)>,
    any: Option<RouteIndex>,
}

impl Methods {
    fn add(&mut self, method: Option<Method>, route: RouteIndex) {
        match method {
            Some(method) => self.exact.push((method, route)),
            None => self.any = Some(route),
        }
    }

    fn find(&self, method: &Method) -> Option<RouteIndex> {
        let exact = self.exact.iter().find(|(of, _)| of == method);
        exact.map(|(_, route)| *route).or(self.any)
    }

    fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.any.is_none()
    }
}

impl Tree {
    /// Compiles routes. Of two that mean the same the later one is taken; the control plane refuses such.
    pub(super) fn new<'a>(keys: impl IntoIterator<Item = &'a RouteKey>) -> Self {
        let mut tree = Self {
            nodes: vec![Node::default()],
            default: None,
        };
        for (route, key) in (0..).zip(keys) {
            match key {
                RouteKey::Default => tree.default = Some(route),
                RouteKey::Path { method, segments } => tree.add(method.clone(), segments, route),
            }
        }
        tree
    }

    fn add(&mut self, method: Option<Method>, segments: &[Segment], route: RouteIndex) {
        let mut at = 0;
        for segment in segments {
            let next = u32::try_from(self.nodes.len()).unwrap_or(u32::MAX);
            let node = &mut self.nodes[at];
            let found = match segment {
                Segment::Literal(text) => *node.literals.entry(text.as_str().into()).or_insert(next),
                Segment::Parameter(_) => *node.variable.get_or_insert(next),
                Segment::Greedy(_) => return node.greedy.add(method, route),
            };
            if found == next {
                self.nodes.push(Node::default());
            }
            at = found as usize;
        }
        self.nodes[at].whole.add(method, route);
    }

    /// The route that takes a request.
    pub(super) fn select(&self, method: &Method, path: &Path<'_>) -> Option<RouteIndex> {
        self.whole(0, 0, method, path)
            .or_else(|| self.greedy(method, path))
            .or(self.default)
    }

    fn whole(&self, at: u32, depth: usize, method: &Method, path: &Path<'_>) -> Option<RouteIndex> {
        let node = self.nodes.get(at as usize)?;
        if depth == path.count() {
            return node.whole.find(method);
        }
        let segment = path.segment(depth);
        let literal = node.literals.get(segment);
        literal
            .and_then(|next| self.whole(*next, depth + 1, method, path))
            .or_else(|| self.whole(node.variable.filter(|_| !segment.is_empty())?, depth + 1, method, path))
    }

    fn greedy(&self, method: &Method, path: &Path<'_>) -> Option<RouteIndex> {
        let mut best = None;
        self.look_greedy(0, 0, method, path, &mut best);
        best.map(|(_, route)| route)
    }

    /// Looks below a node for greedy routes that take the rest, and keeps the one with the longest prefix; of two, the first
    /// found, which is the more literal.
    fn look_greedy(
        &self,
        at: u32,
        depth: usize,
        method: &Method,
        path: &Path<'_>,
        best: &mut Option<(usize, RouteIndex)>,
    ) {
        let Some(node) = self.nodes.get(at as usize).filter(|_| depth < path.count()) else {
            return;
        };
        let segment = path.segment(depth);
        if let Some(next) = node.literals.get(segment) {
            self.look_greedy(*next, depth + 1, method, path, best);
        }
        if let Some(next) = node.variable.filter(|_| !segment.is_empty()) {
            self.look_greedy(next, depth + 1, method, path, best);
        }
        let is_longer = best.is_none_or(|(longest, _)| depth > longest);
        let has_rest = !node.greedy.is_empty() && !path.raw_from(depth).is_empty();
        if let Some(route) = node.greedy.find(method).filter(|_| is_longer && has_rest) {
            *best = Some((depth, route));
        }
    }
}
