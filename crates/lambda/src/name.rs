//! How callers name functions: a name, part of an ARN or a whole one, with or without a qualifier.
//!
//! A name that breaks the model's pattern is a `ValidationException`; one that keeps it but cannot exist (too long,
//! with a dot) is simply not found, as on AWS.

use ephyra_core::arn::Place;
use ephyra_core::id::{FunctionName, Qualifier};
use ephyra_wire::error::ApiError;
use ephyra_wire::validation::{Constraint, Violations};

use crate::error;

/// The pattern of operations that read or run.
const READ_PATTERN: &str = r"(arn:(aws[a-zA-Z-]*)?:lambda:)?((eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1}:)?(\d{12}:)?(function:)?([a-zA-Z0-9-_\.]+)(:(\$LATEST(\.PUBLISHED)?|[a-zA-Z0-9-_]+))?";
/// The pattern of operations that change.
const WRITE_PATTERN: &str = r"(arn:(aws[a-zA-Z-]*)?:lambda:)?((eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1}:)?(\d{12}:)?(function:)?([a-zA-Z0-9-_]+)(:(\$LATEST|[a-zA-Z0-9-_]+))?";
/// The pattern of operations on function URLs.
const URL_PATTERN: &str = r"(arn:(aws[a-zA-Z-]*)?:lambda:)?((eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1}:)?(\d{12}:)?(function:)?([a-zA-Z0-9-_]{1,64})(:((?!\d+$)[0-9a-zA-Z-_]+))?";
/// The pattern of a function URL's qualifier, which is an alias.
const URL_QUALIFIER_PATTERN: &str = r"((?!^\d+$)^[0-9a-zA-Z-_]+$)";
/// The pattern of a qualifier that stands alone.
pub(crate) const QUALIFIER_PATTERN: &str = r"\$(LATEST(\.PUBLISHED)?)|[a-zA-Z0-9-_$]+";

/// Which of the model's shapes a function name has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// `NamespacedFunctionName`: up to 256 characters, dots allowed.
    Read,
    /// `FunctionName`: up to 140 characters.
    Write,
    /// `FunctionUrlFunctionName`: up to 140 characters, the name up to 64; a qualifier is an alias.
    Url,
}

impl Shape {
    const fn longest(self) -> usize {
        match self {
            Self::Read => 256,
            Self::Write | Self::Url => 140,
        }
    }

    const fn pattern(self) -> &'static str {
        match self {
            Self::Read => READ_PATTERN,
            Self::Write => WRITE_PATTERN,
            Self::Url => URL_PATTERN,
        }
    }

    const fn qualifier_pattern(self) -> &'static str {
        match self {
            Self::Read | Self::Write => QUALIFIER_PATTERN,
            Self::Url => URL_QUALIFIER_PATTERN,
        }
    }
}

/// A function as a caller named it, in our region and account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Named {
    /// The bare name; may be one that no function can have.
    pub name: String,
    /// The qualifier, from the name or beside it; may be one that nothing can have.
    pub qualifier: Option<String>,
}

impl Named {
    /// The name, when a function can have it.
    pub(crate) fn function(&self) -> Option<FunctionName> {
        self.name.parse().ok()
    }

    /// The ARN without qualifier.
    pub(crate) fn unqualified_arn(&self, place: &Place) -> String {
        format!("arn:aws:lambda:{place}:function:{}", self.name)
    }

    /// The ARN, with the qualifier if there is one.
    pub(crate) fn arn(&self, place: &Place) -> String {
        let arn = self.unqualified_arn(place);
        match &self.qualifier {
            Some(qualifier) => format!("{arn}:{qualifier}"),
            None => arn,
        }
    }

    /// The ARN, with `$LATEST` when there is no qualifier.
    pub(crate) fn qualified_arn(&self, place: &Place) -> String {
        let qualifier = self.qualifier.as_deref().unwrap_or("$LATEST");
        format!("{}:{qualifier}", self.unqualified_arn(place))
    }

    /// The qualifier's meaning: `Ok(None)` when there is none, `Err` when nothing can have it.
    pub(crate) fn parsed_qualifier(&self) -> Result<Option<Qualifier>, ()> {
        match &self.qualifier {
            None => Ok(None),
            Some(text) => text.parse().map(Some).map_err(|_| ()),
        }
    }

    /// The error for a qualifier that means nothing: an alias and a version are missed in different words.
    pub(crate) fn qualifier_not_found(&self, place: &Place) -> ApiError {
        match self.parsed_qualifier() {
            Ok(Some(Qualifier::Alias(_))) => error::alias_not_found(&self.arn(place)),
            _ => error::function_not_found(&self.arn(place)),
        }
    }
}

/// A name taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Parts<'a> {
    pub region: Option<&'a str>,
    pub account: Option<&'a str>,
    pub name: &'a str,
    pub qualifier: Option<&'a str>,
}

/// Takes a name apart, `None` when it does not match the shape's pattern. Optional parts are taken whenever the rest
/// still matches, as a regular expression would.
pub(crate) fn parse<'a>(text: &'a str, shape: Shape, place: &Place) -> Option<Parts<'a>> {
    let tokens: Vec<&str> = text.splitn(10, ':').collect();
    for choice in (0u8..16).rev() {
        let mut rest = tokens.as_slice();
        let mut region = None;
        let mut account = None;
        if choice & 8 != 0 {
            match rest {
                ["arn", partition, "lambda", more @ ..] if is_partition(partition) => rest = more,
                _ => continue,
            }
        }
        if choice & 4 != 0 {
            match rest {
                [first, more @ ..] if is_region(first) || *first == place.region.as_str() => {
                    region = Some(*first);
                    rest = more;
                }
                _ => continue,
            }
        }
        if choice & 2 != 0 {
            match rest {
                [first, more @ ..] if is_account(first) => {
                    account = Some(*first);
                    rest = more;
                }
                _ => continue,
            }
        }
        if choice & 1 != 0 {
            match rest {
                ["function", more @ ..] => rest = more,
                _ => continue,
            }
        }
        let (name, qualifier) = match rest {
            [name] => (*name, None),
            [name, qualifier] => (*name, Some(*qualifier)),
            _ => continue,
        };
        if is_name(name, shape) && qualifier.is_none_or(|text| is_name_qualifier(text, shape)) {
            return Some(Parts {
                region,
                account,
                name,
                qualifier,
            });
        }
    }
    None
}

/// Reads the name and the qualifier of a request.
///
/// # Errors
/// What AWS answers: broken constraints together, then another region, another account, or two qualifiers that differ.
pub(crate) fn read(text: &str, qualifier: Option<&str>, shape: Shape, place: &Place) -> Result<Named, ApiError> {
    let mut violations = Violations::default();
    let named = check(&mut violations, text, qualifier, shape, place);
    violations.finish()?;
    named
}

/// Like [`read`], with the broken constraints added to those of the caller. Use the result only when there are none.
pub(crate) fn check(
    violations: &mut Violations,
    text: &str,
    qualifier: Option<&str>,
    shape: Shape,
    place: &Place,
) -> Result<Named, ApiError> {
    if let Some(qualifier) = qualifier {
        violations.check_length("qualifier", qualifier, 1, 128);
        if !is_qualifier(qualifier, shape) {
            violations.add("qualifier", qualifier, Constraint::Pattern(shape.qualifier_pattern()));
        }
    }
    violations.check_length("functionName", text, 1, shape.longest());
    let Some(parts) = parse(text, shape, place) else {
        violations.add("functionName", text, Constraint::Pattern(shape.pattern()));
        // Never seen: the violation answers the request.
        return Err(error::function_not_found(text));
    };
    if let Some(region) = parts.region.filter(|region| *region != place.region.as_str()) {
        return Err(error::not_found(format!(
            "Functions from '{region}' are not reachable in this region ('{}')",
            place.region
        )));
    }
    if parts.account.is_some_and(|account| account != place.account.as_str()) {
        return Err(error::access_denied());
    }
    if let (Some(derived), Some(given)) = (parts.qualifier, qualifier)
        && derived != given
    {
        return Err(error::invalid_parameter(
            "The derived qualifier from the function name does not match the specified qualifier.",
        ));
    }
    Ok(Named {
        name: parts.name.to_owned(),
        qualifier: qualifier.or(parts.qualifier).map(str::to_owned),
    })
}

fn is_partition(text: &str) -> bool {
    text.is_empty()
        || text
            .strip_prefix("aws")
            .is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_alphabetic() || b == b'-'))
}

/// `(eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1}`
pub(crate) fn is_region(text: &str) -> bool {
    let is_lower = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_lowercase());
    let is_digit = |text: &str| text.len() == 1 && text.bytes().all(|b| b.is_ascii_digit());
    let is_land = |text: &str| text.len() == 2 && is_lower(text);
    let is_special = |text: &str| text == "gov" || (text.starts_with("iso") && text.len() <= 4 && is_lower(text));
    let parts: Vec<&str> = text.split('-').collect();
    let parts = match parts.as_slice() {
        ["eusc", rest @ ..] => rest,
        all => all,
    };
    match parts {
        [land, place, number] => is_land(land) && is_lower(place) && is_digit(number),
        [land, special, place, number] => is_land(land) && is_special(special) && is_lower(place) && is_digit(number),
        _ => false,
    }
}

pub(crate) fn is_account(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit())
}

/// `[a-zA-Z0-9-_]+`
pub(crate) fn is_word(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

fn is_name(text: &str, shape: Shape) -> bool {
    match shape {
        Shape::Write => is_word(text),
        Shape::Url => is_word(text) && text.len() <= 64,
        Shape::Read => {
            !text.is_empty()
                && text
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
        }
    }
}

fn is_name_qualifier(text: &str, shape: Shape) -> bool {
    match shape {
        Shape::Url => is_alias(text),
        Shape::Read => matches!(text, "$LATEST" | "$LATEST.PUBLISHED") || is_word(text),
        Shape::Write => text == "$LATEST" || is_word(text),
    }
}

/// `((?!^\d+$)^[0-9a-zA-Z-_]+$)`
fn is_alias(text: &str) -> bool {
    is_word(text) && !text.bytes().all(|b| b.is_ascii_digit())
}

/// `\$(LATEST(\.PUBLISHED)?)|[a-zA-Z0-9-_$]+`, or an alias.
fn is_qualifier(text: &str, shape: Shape) -> bool {
    if shape == Shape::Url {
        return is_alias(text);
    }
    text == "$LATEST.PUBLISHED"
        || (!text.is_empty()
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'$')))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn place() -> Place {
        Place {
            region: "us-east-1".parse().unwrap(),
            account: "111111111111".parse().unwrap(),
        }
    }

    #[track_caller]
    fn check(text: &str, want: Option<(&str, Option<&str>)>) {
        let place = place();
        let parts = parse(text, Shape::Read, &place);
        assert_eq!(parts.map(|parts| (parts.name, parts.qualifier)), want, "{text}");
    }

    #[test]
    fn every_way_to_name_a_function_is_read() {
        check("f", Some(("f", None)));
        check("f:1", Some(("f", Some("1"))));
        check("function:f", Some(("f", None)));
        check("function", Some(("function", None)));
        check("111111111111:function:f", Some(("f", None)));
        check("arn:aws:lambda:us-east-1:111111111111:function:f", Some(("f", None)));
        check(
            "arn:aws:lambda:us-east-1:111111111111:function:f:$LATEST",
            Some(("f", Some("$LATEST"))),
        );
        check(
            "arn:aws:lambda:us-east-1:111111111111:function",
            Some(("function", None)),
        );
        check("arn:aws", Some(("arn", Some("aws"))));
    }

    #[test]
    fn what_breaks_the_pattern_is_not_read() {
        for text in [
            "",
            "*",
            "my-function!",
            "f:1:2",
            "f:$LATES",
            "invalid-account:function:f",
            "function:f:$LATEST:extra",
            "arn:aws:ec2:us-east-1:111111111111:instance:i-1",
            "arn:aws:lambda::111111111111:function:f",
            "arn:aws:lambda:us-east-1::function:f",
            "arn:aws:lambda:invalid-region:111111111111:function:f",
        ] {
            check(text, None);
        }
    }

    #[test]
    fn a_url_has_an_alias_or_nothing() {
        let place = place();
        let is_read = |text: &str, qualifier| read(text, qualifier, Shape::Url, &place).is_ok();
        assert!(is_read("f", None) && is_read("f:live", None) && is_read("f", Some("live")));
        for (text, qualifier) in [
            ("f", Some("1")),
            ("f", Some("$LATEST")),
            ("f:1", None),
            ("f:$LATEST", None),
        ] {
            let error = read(text, qualifier, Shape::Url, &place).unwrap_err();
            assert_eq!(error.code, "ValidationException", "{text} {qualifier:?}");
        }
        assert!(!is_read(&"a".repeat(65), None));
    }

    #[test]
    fn other_regions_and_accounts_are_refused() {
        let place = place();
        let error = read(
            "arn:aws:lambda:eu-west-1:111111111111:function:f",
            None,
            Shape::Read,
            &place,
        )
        .unwrap_err();
        assert_eq!(
            error.message,
            "Functions from 'eu-west-1' are not reachable in this region ('us-east-1')"
        );
        let error = read("222222222222:function:f", None, Shape::Read, &place).unwrap_err();
        assert!(error::is_silent(&error));
    }

    #[test]
    fn the_qualifier_beside_the_name_must_agree() {
        let place = place();
        assert!(read("f:1", Some("1"), Shape::Read, &place).is_ok());
        let error = read("f:$LATEST", Some("1"), Shape::Read, &place).unwrap_err();
        assert_eq!(error.code, "InvalidParameterValueException");
    }

    #[test]
    fn regions_are_told_apart_from_other_words() {
        for text in ["us-east-1", "us-gov-west-1", "us-isob-east-1", "eusc-de-east-1"] {
            assert!(is_region(text), "{text}");
        }
        for text in ["invalid-region", "us-east-10", "us-east", "", "USA-east-1"] {
            assert!(!is_region(text), "{text}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn any_text_is_answered(text in ".{0,200}", qualifier in proptest::option::of(".{0,140}")) {
            if let Ok(named) = read(&text, qualifier.as_deref(), Shape::Read, &place()) {
                prop_assert!(!named.name.is_empty());
                prop_assert!(!named.name.contains(':'));
            }
        }
    }
}
