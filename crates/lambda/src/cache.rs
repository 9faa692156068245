//! What names and function URLs mean, kept so that a warm invocation reads no record.
//!
//! Bounded by the number of functions and of URLs. Two generations stand in for a list of recent use: what is used moves to the
//! young one, and when that is full it becomes the old one, whose unused content goes.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ephyra_core::compute::EventConfig;
use ephyra_core::revision::Revision;
use ephyra_core::url::FunctionUrl;
use parking_lot::Mutex;

/// How many functions are kept in both generations together.
const FUNCTIONS: usize = 4096;
/// How many URLs are kept in both generations together.
const URLS: usize = 4096;
/// How many qualifiers of one function are kept.
const QUALIFIERS: usize = 64;

/// What a function's name and qualifier mean.
#[derive(Clone, Debug)]
pub(crate) struct Meaning {
    /// The ARN with the qualifier that was asked for.
    pub invoked_arn: String,
    /// What runs.
    pub revision: Arc<Revision>,
    /// What runs instead, and for which share of the invocations.
    pub other: Option<(Arc<Revision>, f64)>,
    /// How accepted events are treated.
    pub events: EventConfig,
}

impl Meaning {
    /// The revision for one invocation; `dice` is uniform in [0, 1).
    pub(crate) fn choose(&self, dice: impl FnOnce() -> f64) -> &Arc<Revision> {
        match &self.other {
            Some((other, weight)) if dice() < *weight => other,
            _ => &self.revision,
        }
    }
}

/// A function's meanings by qualifier; no qualifier is the empty text.
type Meanings = Vec<(String, Arc<Meaning>)>;

struct Generations<V> {
    young: HashMap<String, V>,
    old: HashMap<String, V>,
    /// How many values either generation has at most.
    limit: usize,
}

/// The cache.
pub(crate) struct Cache {
    meanings: Mutex<Generations<Meanings>>,
    urls: Mutex<Generations<Arc<FunctionUrl>>>,
    changes: AtomicU64,
}

impl Default for Cache {
    fn default() -> Self {
        Self {
            meanings: Mutex::new(Generations::new(FUNCTIONS)),
            urls: Mutex::new(Generations::new(URLS)),
            changes: AtomicU64::new(0),
        }
    }
}

/// The state of the cache before a record was read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Before(u64);

impl Cache {
    /// The meaning of a name, when it is kept.
    pub(crate) fn get(&self, function: &str, qualifier: Option<&str>) -> Option<Arc<Meaning>> {
        let qualifier = qualifier.unwrap_or_default();
        self.meanings
            .lock()
            .read(function, |meanings| find(meanings, qualifier))?
    }

    /// The URL of an id, when it is kept.
    pub(crate) fn url(&self, id: &str) -> Option<Arc<FunctionUrl>> {
        self.urls.lock().read(id, Arc::clone)
    }

    /// To be called before the records are read that [`Cache::put`] or [`Cache::put_url`] is then given.
    pub(crate) fn before(&self) -> Before {
        Before(self.changes.load(Ordering::Acquire))
    }

    /// Keeps a meaning, unless something has changed since `before`: it may have been read too early.
    pub(crate) fn put(&self, before: Before, function: &str, qualifier: Option<&str>, meaning: Arc<Meaning>) {
        let mut generations = self.meanings.lock();
        if self.changes.load(Ordering::Acquire) != before.0 {
            return;
        }
        let mut meanings = generations.take(function).unwrap_or_default();
        if meanings.len() >= QUALIFIERS {
            meanings.clear();
        }
        let qualifier = qualifier.unwrap_or_default();
        meanings.retain(|(kept, _)| kept != qualifier);
        meanings.push((qualifier.to_owned(), meaning));
        generations.insert(function.to_owned(), meanings);
    }

    /// Keeps a URL, unless something has changed since `before`.
    pub(crate) fn put_url(&self, before: Before, url: Arc<FunctionUrl>) {
        let mut generations = self.urls.lock();
        if self.changes.load(Ordering::Acquire) == before.0 {
            generations.take(&url.id);
            generations.insert(url.id.clone(), url);
        }
    }

    /// Forgets a function and its URLs; to be called after each change of one of its records.
    pub(crate) fn forget(&self, function: &str) {
        // Counted before either is forgotten: what was read too early is not put behind it.
        self.changes.fetch_add(1, Ordering::AcqRel);
        self.meanings.lock().take(function);
        self.urls.lock().retain(|url| url.function.as_str() != function);
    }
}

impl<V> Generations<V> {
    fn new(both: usize) -> Self {
        Self {
            young: HashMap::new(),
            old: HashMap::new(),
            limit: both / 2,
        }
    }

    fn read<R>(&mut self, key: &str, read: impl FnOnce(&V) -> R) -> Option<R> {
        if let Some(value) = self.young.get(key) {
            return Some(read(value));
        }
        let (key, value) = self.old.remove_entry(key)?;
        let found = read(&value);
        self.insert(key, value);
        Some(found)
    }

    fn take(&mut self, key: &str) -> Option<V> {
        self.young.remove(key).or_else(|| self.old.remove(key))
    }

    fn insert(&mut self, key: String, value: V) {
        if self.young.len() >= self.limit {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, value);
    }

    fn retain(&mut self, is_kept: impl Fn(&V) -> bool) {
        self.young.retain(|_, value| is_kept(value));
        self.old.retain(|_, value| is_kept(value));
    }
}

fn find(meanings: &Meanings, qualifier: &str) -> Option<Arc<Meaning>> {
    meanings
        .iter()
        .find(|(kept, _)| kept == qualifier)
        .map(|(_, meaning)| Arc::clone(meaning))
}

#[cfg(test)]
mod tests {
    use ephyra_core::digest::Digest;
    use ephyra_core::id::{RevisionId, Version};
    use ephyra_core::revision::{LogFormat, LogLevel, Logging};

    use super::*;

    fn meaning() -> Arc<Meaning> {
        let revision = Revision {
            id: RevisionId::new(),
            function: "f".parse().unwrap(),
            version: Version::Latest,
            function_arn: String::new(),
            runtime: String::new(),
            handler: String::new(),
            code: Digest::of(b""),
            layers: Vec::new(),
            memory_mb: 128,
            ephemeral_storage_mb: 512,
            timeout_seconds: 3,
            variables: Vec::new(),
            logging: Logging {
                format: LogFormat::Text,
                application_level: LogLevel::Info,
                system_level: LogLevel::Info,
                group: String::new(),
            },
        };
        Arc::new(Meaning {
            invoked_arn: String::new(),
            revision: Arc::new(revision),
            other: None,
            events: EventConfig {
                max_retries: 2,
                max_age_seconds: 60,
            },
        })
    }

    #[test]
    fn what_was_put_is_found_until_it_changes() {
        let cache = Cache::default();
        cache.put(cache.before(), "f", None, meaning());
        cache.put(cache.before(), "f", Some("1"), meaning());
        assert!(cache.get("f", None).is_some());
        assert!(cache.get("f", Some("1")).is_some());
        assert!(cache.get("f", Some("2")).is_none());
        cache.forget("f");
        assert!(cache.get("f", None).is_none());
    }

    #[test]
    fn what_was_read_before_a_change_is_not_kept() {
        let cache = Cache::default();
        let before = cache.before();
        cache.forget("f");
        cache.put(before, "f", None, meaning());
        assert!(cache.get("f", None).is_none());
    }

    #[test]
    fn it_stays_bounded_and_keeps_what_is_used() {
        let cache = Cache::default();
        cache.put(cache.before(), "used", None, meaning());
        for number in 0..2 * FUNCTIONS {
            cache.put(cache.before(), &number.to_string(), None, meaning());
            assert!(cache.get("used", None).is_some());
        }
        let generations = cache.meanings.lock();
        assert!(generations.young.len() + generations.old.len() <= FUNCTIONS);
    }

    fn url(id: &str, function: &str) -> Arc<FunctionUrl> {
        Arc::new(FunctionUrl {
            id: id.to_owned(),
            function: function.parse().unwrap(),
            qualifier: None,
            auth: ephyra_core::url::UrlAuth::None,
            is_open: true,
            invoke_mode: ephyra_core::url::InvokeMode::Buffered,
            cors: None,
        })
    }

    #[test]
    fn a_function_is_forgotten_with_its_urls_and_no_others() {
        let cache = Cache::default();
        let early = cache.before();
        for (id, function) in [("1", "f"), ("2", "f"), ("3", "g")] {
            cache.put_url(cache.before(), url(id, function));
        }
        assert!(cache.url("1").is_some());
        cache.forget("f");
        assert!(cache.url("1").is_none() && cache.url("2").is_none());
        assert_eq!(cache.url("3").map(|url| url.function.to_string()).as_deref(), Some("g"));
        cache.put_url(early, url("1", "f"));
        assert!(cache.url("1").is_none(), "it was read before the change");
    }

    #[test]
    fn urls_are_bounded_and_those_in_use_stay() {
        let cache = Cache::default();
        cache.put_url(cache.before(), url("used", "f"));
        for number in 0..2 * URLS {
            cache.put_url(cache.before(), url(&number.to_string(), "f"));
            assert!(cache.url("used").is_some());
        }
        let generations = cache.urls.lock();
        assert!(generations.young.len() + generations.old.len() <= URLS);
    }

    #[test]
    fn qualifiers_are_bounded_too() {
        let cache = Cache::default();
        for number in 0..3 * QUALIFIERS {
            cache.put(cache.before(), "f", Some(&number.to_string()), meaning());
        }
        assert!(cache.meanings.lock().young["f"].len() <= QUALIFIERS);
    }

    #[test]
    fn weights_choose() {
        let mut meaning = (*meaning()).clone();
        let other = Arc::new((*meaning.revision).clone());
        meaning.other = Some((Arc::clone(&other), 0.25));
        assert!(Arc::ptr_eq(meaning.choose(|| 0.2), &other));
        assert!(Arc::ptr_eq(meaning.choose(|| 0.25), &meaning.revision));
    }
}
