//! Pages of lists: `MaxItems`, and markers that say where the next page begins.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ephyra_wire::error::ApiError;
use ephyra_wire::rest::query_integer;
use ephyra_wire::service::Request;
use ephyra_wire::validation::Violations;

use crate::error;

/// What a request wants of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Page {
    /// How many items.
    pub size: usize,
    /// What the marker says: where the page before ended.
    pub after: Option<String>,
}

impl Page {
    /// Reads `MaxItems`, at most `most` and 50 when not given, and `Marker`. A page has `largest` items at most.
    pub(crate) fn read(request: &Request, most: i64, largest: usize) -> Result<Self, ApiError> {
        let wanted = query_integer(request, "MaxItems")?;
        if let Some(wanted) = wanted {
            let mut violations = Violations::default();
            violations.check_range("maxItems", wanted, 1, most);
            violations.finish()?;
        }
        let size = wanted.and_then(|wanted| usize::try_from(wanted).ok()).unwrap_or(50);
        let after = match request.query("Marker").filter(|marker| !marker.is_empty()) {
            None => None,
            Some(marker) => Some(read(marker)?),
        };
        Ok(Self {
            size: size.min(largest),
            after,
        })
    }

    /// Takes one page from items in order, of which at least one more than the page holds was read if there are any.
    /// `place` names an item for the marker.
    pub(crate) fn cut<T>(&self, mut items: Vec<T>, place: impl Fn(&T) -> String) -> (Vec<T>, Option<String>) {
        if items.len() <= self.size {
            return (items, None);
        }
        items.truncate(self.size);
        let marker = items.last().map(|last| write(&place(last)));
        (items, marker)
    }
}

/// A marker that says `place`.
pub(crate) fn write(place: &str) -> String {
    URL_SAFE_NO_PAD.encode(place)
}

fn read(marker: &str) -> Result<String, ApiError> {
    let bytes = URL_SAFE_NO_PAD.decode(marker).ok();
    bytes
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .filter(|place| place.len() <= 1024)
        .ok_or_else(|| error::invalid_parameter("The Marker is not one that this operation has given."))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn pages_end_with_a_marker_until_the_last() {
        let page = Page { size: 2, after: None };
        let (items, marker) = page.cut(vec![1, 2, 3], ToString::to_string);
        assert_eq!(items, [1, 2]);
        assert_eq!(read(&marker.unwrap()).unwrap(), "2");
        assert_eq!(page.cut(vec![3], ToString::to_string), (vec![3], None));
    }

    proptest! {
        #[test]
        fn markers_read_back_and_others_do_no_harm(text in ".{0,80}") {
            prop_assert_eq!(read(&write(&text)).unwrap(), text.clone());
            let _ = read(&text);
        }
    }
}
