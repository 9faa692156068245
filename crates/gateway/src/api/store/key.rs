//! The keys of records. Ids and names hold no slash.

/// The prefix of APIs.
pub(super) const APIS: &str = "http-api/";
/// The prefix of all parts of APIs.
pub(super) const PARTS: &str = "http-api-part/";
/// The prefix of custom domain names.
pub(super) const DOMAINS: &str = "http-domain/";

/// What a generation holds.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Route,
    Integration,
    Authorizer,
}

pub(super) fn api(id: &str) -> String {
    format!("{APIS}{id}")
}

pub(super) fn domain(name: &str) -> String {
    format!("{DOMAINS}{name}")
}

/// The prefix of an API's parts.
pub(super) fn parts(api: &str) -> String {
    format!("{PARTS}{api}/")
}

/// Behind all parts of an API, before those of any other: the character after the slash.
pub(super) fn behind_parts(api: &str) -> String {
    format!("{PARTS}{api}0")
}

/// The API of a part's key.
pub(super) fn api_of_part(key: &str) -> &str {
    key.split('/').nth(1).unwrap_or_default()
}

/// The prefix of all generations.
pub(super) fn generations(api: &str) -> String {
    format!("{PARTS}{api}/g")
}

pub(super) fn generation(api: &str, number: u32) -> String {
    format!("{PARTS}{api}/g{number:010}/")
}

/// Behind all of a generation.
pub(super) fn behind_generation(api: &str, number: u32) -> String {
    format!("{PARTS}{api}/g{number:010}0")
}

/// The number of a generation that a key is of.
pub(super) fn generation_of(key: &str) -> Option<u32> {
    key.split('/').nth(2)?.strip_prefix('g')?.parse().ok()
}

/// The prefix of a generation's parts of one kind.
pub(super) fn kind(api: &str, number: u32, kind: Kind) -> String {
    let letter = match kind {
        Kind::Route => 'r',
        Kind::Integration => 'i',
        Kind::Authorizer => 'a',
    };
    format!("{PARTS}{api}/g{number:010}/{letter}/")
}

pub(super) fn stages(api: &str) -> String {
    format!("{PARTS}{api}/s/")
}

pub(super) fn stage(api: &str, name: &str) -> String {
    format!("{PARTS}{api}/s/{name}")
}

pub(super) fn deployments(api: &str) -> String {
    format!("{PARTS}{api}/d/")
}

pub(super) fn deployment(api: &str, id: &str) -> String {
    format!("{PARTS}{api}/d/{id}")
}

/// The prefix of the pieces of all deployments.
pub(super) fn all_pieces(api: &str) -> String {
    format!("{PARTS}{api}/p/")
}

/// The prefix of a deployment's pieces.
pub(super) fn pieces(api: &str, deployment: &str) -> String {
    format!("{PARTS}{api}/p/{deployment}/")
}

/// Behind all pieces of a deployment.
pub(super) fn behind_pieces(api: &str, deployment: &str) -> String {
    format!("{PARTS}{api}/p/{deployment}0")
}

/// The deployment of a piece's key.
pub(super) fn deployment_of_piece(key: &str) -> &str {
    key.split('/').nth(3).unwrap_or_default()
}

pub(super) fn piece(api: &str, deployment: &str, number: usize) -> String {
    format!("{PARTS}{api}/p/{deployment}/{number:06}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn skipping_goes_behind_all_of_one_and_before_the_next() {
        assert!(behind_parts("abc") > parts("abc") + "~");
        assert!(behind_parts("abc") < parts("abd"));
        assert!(behind_generation("abc", 1) > generation("abc", 1) + "~");
        assert!(behind_generation("abc", 1) < generation("abc", 2));
        assert!(behind_pieces("abc", "d") > piece("abc", "d", 999_999));
        assert_eq!(generation_of(&(generation("abc", 12) + "r/x")), Some(12));
        assert_eq!(api_of_part(&stage("abc", "$default")), "abc");
        assert_eq!(deployment_of_piece(&piece("abc", "d1", 3)), "d1");
    }
}
