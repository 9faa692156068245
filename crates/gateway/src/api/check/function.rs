//! How integrations and authorizers name functions, and stage variables in that.

/// The beginning and the end of the long form, around the region and the function's ARN.
const LONG: &str = ":lambda:path/2015-03-31/functions/";
const LONG_END: &str = "/invocations";

/// The function's ARN in a URI: itself, or what stands in
/// `arn:aws:apigateway:REGION:lambda:path/2015-03-31/functions/ARN/invocations`. `None`: it is neither. Stage variables
/// may stand in it still.
pub(crate) fn arn_of(uri: &str) -> Option<&str> {
    let arn = match uri.split_once(LONG) {
        None => uri,
        Some((before, rest)) => {
            let mut words = before.split(':');
            let is_long = words.next() == Some("arn")
                && words.next().is_some_and(is_partition)
                && words.next() == Some("apigateway")
                && words.next().is_some()
                && words.next().is_none();
            if !is_long {
                return None;
            }
            rest.strip_suffix(LONG_END)?
        }
    };
    is_arn(&without_variables(arn)?).then_some(arn)
}

/// A text with a word for every `${stageVariables.NAME}`; `None`: one of them is no such.
pub(crate) fn without_variables(text: &str) -> Option<String> {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once("${") {
        let (variable, after) = behind.split_once('}')?;
        let name = variable.strip_prefix("stageVariables.")?;
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        if name.is_empty() || !name.bytes().all(is_name) {
            return None;
        }
        plain.push_str(before);
        plain.push('x');
        rest = after;
    }
    plain.push_str(rest);
    Some(plain)
}

/// Whether a text is a function's ARN, with or without qualifier.
fn is_arn(text: &str) -> bool {
    let words: Vec<&str> = text.split(':').collect();
    let is_word = |word: &str, extra: &[u8]| {
        (1..=128).contains(&word.len()) && word.bytes().all(|b| b.is_ascii_alphanumeric() || extra.contains(&b))
    };
    let [
        "arn",
        partition,
        "lambda",
        region,
        account,
        "function",
        name,
        qualifier @ ..,
    ] = words.as_slice()
    else {
        return false;
    };
    is_partition(partition)
        && is_word(region, b"-")
        && is_word(account, b"")
        && is_word(name, b"-_")
        && match qualifier {
            [] => true,
            [qualifier] => is_word(qualifier, b"-_$"),
            _ => false,
        }
}

fn is_partition(word: &str) -> bool {
    word.starts_with("aws") && word.bytes().all(|b| b.is_ascii_lowercase() || b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_name_a_function() {
        let arn = "arn:aws:lambda:eu-central-1:111111111111:function:f";
        let long = format!("arn:aws:apigateway:eu-central-1:lambda:path/2015-03-31/functions/{arn}/invocations");
        assert_eq!(arn_of(arn), Some(arn));
        assert_eq!(arn_of(&long), Some(arn));
        for good in [
            format!("{arn}:live"),
            format!("{arn}:$LATEST"),
            format!("{arn}:${{stageVariables.alias}}"),
            "arn:aws:lambda:eu-central-1:111111111111:function:${stageVariables.f}-x".to_owned(),
            "arn:aws-cn:lambda:cn-north-1:111111111111:function:f".to_owned(),
        ] {
            assert_eq!(arn_of(&good), Some(good.as_str()));
        }
        for bad in [
            "",
            "f",
            "arn:aws:s3:::bucket",
            "arn:aws:lambda:eu-central-1:111111111111:function:f:a:b",
            "arn:aws:lambda:eu-central-1:111111111111:function:${context.x}",
            "arn:aws:lambda:eu-central-1:111111111111:function:${stageVariables.x",
            "arn:aws:apigateway:eu-central-1:lambda:path/2015-03-31/functions/f/invocations",
            "http://example.com",
        ] {
            assert_eq!(arn_of(bad), None, "{bad}");
        }
        assert_eq!(arn_of(&long.replace("/invocations", "")), None);
    }
}
