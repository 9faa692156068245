//! Finds function URLs by their id: from the cache, or from the records.

use std::sync::Arc;

use ephyra_core::compute::ResolveError;
use ephyra_core::url::{FunctionUrl, FunctionUrls};
use ephyra_store::StoreError;
use futures_util::future::BoxFuture;

use crate::lambda::{Inner, Lambda};
use crate::record::is_url_id;

impl FunctionUrls for Lambda {
    fn find<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Option<Arc<FunctionUrl>>, ResolveError>> {
        if let Some(url) = self.inner.cache.url(id) {
            return Box::pin(std::future::ready(Ok(Some(url))));
        }
        Box::pin(async move {
            let found = self.inner.read_url(id).await;
            found.map_err(|error| ResolveError::Store(Box::new(error)))
        })
    }
}

impl Inner {
    /// Follows an id to the function or alias that has a URL of this id.
    async fn read_url(&self, id: &str) -> Result<Option<Arc<FunctionUrl>>, StoreError> {
        if !is_url_id(id) {
            return Ok(None);
        }
        let before = self.cache.before();
        let Some(place) = self.ledger.url(id).await?.map(|stored| stored.record) else {
            return Ok(None);
        };
        // An alias's record may outlive its function's for a moment.
        let Some(function) = self.ledger.function(&place.function).await? else {
            return Ok(None);
        };
        let attached = match &place.alias {
            None => function.record.latest.attached,
            Some(alias) => match self.ledger.alias(&place.function, alias).await? {
                None => return Ok(None),
                Some(alias) => alias.record.attached,
            },
        };
        let Some(config) = attached.url.filter(|url| url.id == id) else {
            return Ok(None);
        };
        let url = Arc::new(config.to_function_url(place, &attached.policy));
        self.cache.put_url(before, Arc::clone(&url));
        Ok(Some(url))
    }
}
