//! Amazon resource names of functions and layers.
//! Source: <https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html>.

use std::fmt;

use crate::id::{AccountId, FunctionName, Qualifier, Region};

/// Where a function lives; with its name, its ARN.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// The region.
    pub region: Region,
    /// The account.
    pub account: AccountId,
}

impl Place {
    /// The ARN of a function, with `qualifier` behind it when there is one.
    pub fn function_arn(&self, name: &FunctionName, qualifier: Option<&Qualifier>) -> String {
        let arn = format!("arn:aws:lambda:{self}:function:{name}");
        match qualifier {
            Some(qualifier) => format!("{arn}:{qualifier}"),
            None => arn,
        }
    }

    /// The ARN of a layer, with `version` behind it when there is one.
    pub fn layer_arn(&self, name: &str, version: Option<u64>) -> String {
        let arn = format!("arn:aws:lambda:{self}:layer:{name}");
        match version {
            Some(version) => format!("{arn}:{version}"),
            None => arn,
        }
    }
}

/// `region:account`, as in the middle of an ARN.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.region, self.account)
    }
}
