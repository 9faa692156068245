//! `[[route]]` in an `ephyra.toml`: what leads from an HTTP API to the function, and who may come.

use std::collections::BTreeMap;

use anyhow::{Context as _, bail};
use serde::{Deserialize, Deserializer, Serialize};

/// One route.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RouteTable {
    /// `GET` and so on; `ANY` is all.
    #[serde(default = "any")]
    pub(crate) method: String,
    /// `/notes/{id}`, `/files/{rest+}`, or `$default` for what no other route takes.
    pub(crate) path: String,
    /// Who may come.
    #[serde(default)]
    pub(crate) auth: RouteAuth,
    /// Whose tokens are taken, instead of what `[jwt]` says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) issuer: Option<String>,
    /// For whom tokens are made out, instead of what `[jwt]` says.
    #[serde(default, deserialize_with = "one_or_more", skip_serializing_if = "Vec::is_empty")]
    pub(crate) audience: Vec<String>,
    /// One of these scopes has to be in the token.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) scopes: Vec<String>,
    /// Another server that the route leads to instead of the function, such as `http://127.0.0.1:8080/notes/{id}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) to: Option<String>,
    /// Headers that this server is sent in the place of what the client has sent, in AWS's words for parameter mapping:
    /// `$context.authorizer.claims.sub` is whose token it is.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) headers: BTreeMap<String, String>,
}

/// Who may come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum RouteAuth {
    /// Everybody.
    #[default]
    None,
    /// Who brings a token.
    Jwt,
    /// Who signs.
    Iam,
}

/// `[jwt]`: the tokens of all routes that do not say otherwise.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Jwt {
    /// Whose they are: the address below which its `.well-known/openid-configuration` is.
    pub(crate) issuer: String,
    /// For whom they are made out; one of these.
    #[serde(deserialize_with = "one_or_more")]
    pub(crate) audience: Vec<String>,
}

/// A route as it is wanted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Wanted {
    /// `GET /notes`.
    pub(crate) key: String,
    pub(crate) auth: RouteAuth,
    /// With [`RouteAuth::Jwt`].
    pub(crate) jwt: Option<Jwt>,
    pub(crate) scopes: Vec<String>,
    /// Where it leads; `None` is to the function.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) server: Option<Server>,
}

/// Another server that a route leads to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Server {
    pub(crate) address: String,
    pub(crate) headers: BTreeMap<String, String>,
}

fn any() -> String {
    "ANY".to_owned()
}

/// A text, or a list of them.
fn one_or_more<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "a text or a list of texts")]
    enum Either {
        One(String),
        More(Vec<String>),
    }

    Ok(match Either::deserialize(deserializer)? {
        Either::One(one) => vec![one],
        Either::More(more) => more,
    })
}

impl RouteTable {
    /// The route with what `[jwt]` says.
    fn wanted(&self, jwt: Option<&Jwt>) -> anyhow::Result<Wanted> {
        let method = self.method.to_ascii_uppercase();
        let key = match self.path.as_str() {
            "$default" => "$default".to_owned(),
            path if path.starts_with('/') => format!("{method} {path}"),
            path => bail!("the path of a route begins with a slash, unlike {path:?}"),
        };
        let has_own = self.issuer.is_some() || !self.audience.is_empty() || !self.scopes.is_empty();
        let jwt = match self.auth {
            RouteAuth::Jwt => {
                let issuer = self.issuer.clone().or_else(|| jwt.map(|jwt| jwt.issuer.clone()));
                let audience = match self.audience.as_slice() {
                    [] => jwt.map(|jwt| jwt.audience.clone()).unwrap_or_default(),
                    own => own.to_vec(),
                };
                let issuer = issuer.with_context(|| format!("route {key:?} takes tokens: say whose, as issuer"))?;
                if audience.is_empty() {
                    bail!("route {key:?} takes tokens: say for whom they are made out, as audience");
                }
                Some(Jwt { issuer, audience })
            }
            RouteAuth::None | RouteAuth::Iam if has_own => {
                bail!("route {key:?} says something of tokens: they are taken with auth = \"jwt\" alone")
            }
            RouteAuth::None | RouteAuth::Iam => None,
        };
        let server = match &self.to {
            Some(address) => Some(Server {
                address: address.clone(),
                headers: self.headers.clone(),
            }),
            None if !self.headers.is_empty() => {
                bail!("route {key:?} says headers for another server: say which, as to")
            }
            None => None,
        };
        Ok(Wanted {
            key,
            auth: self.auth,
            jwt,
            scopes: self.scopes.clone(),
            server,
        })
    }
}

/// All routes as they are wanted.
pub(super) fn wanted(routes: &[RouteTable], jwt: Option<&Jwt>) -> anyhow::Result<Vec<Wanted>> {
    let mut all: Vec<Wanted> = Vec::new();
    for route in routes {
        let route = route.wanted(jwt)?;
        if all.iter().any(|other| other.key == route.key) {
            bail!("there are two routes {:?}", route.key);
        }
        all.push(route);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct File {
        #[serde(default)]
        route: Vec<RouteTable>,
        jwt: Option<Jwt>,
    }

    fn read(text: &str) -> anyhow::Result<Vec<Wanted>> {
        let file: File = toml::from_str(text)?;
        wanted(&file.route, file.jwt.as_ref())
    }

    #[test]
    fn routes_are_read() {
        let all = read(
            "[jwt]\nissuer = 'https://a'\naudience = 'me'\n\
             [[route]]\npath = '/open'\n\
             [[route]]\nmethod = 'get'\npath = '/notes'\nauth = 'jwt'\nscopes = ['read']\n\
             [[route]]\nmethod = 'POST'\npath = '/notes'\nauth = 'jwt'\nissuer = 'https://b'\naudience = ['x', 'y']\n\
             [[route]]\npath = '$default'\nauth = 'iam'\nto = 'http://c'\nheaders = { x = 'y' }\n",
        )
        .unwrap();
        let keys: Vec<&str> = all.iter().map(|route| route.key.as_str()).collect();
        assert_eq!(keys, ["ANY /open", "GET /notes", "POST /notes", "$default"]);
        let issuers: Vec<_> = all
            .iter()
            .map(|route| route.jwt.as_ref().map(|jwt| jwt.issuer.as_str()))
            .collect();
        assert_eq!(issuers, [None, Some("https://a"), Some("https://b"), None]);
        assert_eq!(all[1].jwt.as_ref().map(|jwt| jwt.audience.len()), Some(1));
        assert_eq!(all[2].jwt.as_ref().map(|jwt| jwt.audience.len()), Some(2));
        assert_eq!(all[1].scopes, ["read"]);
        assert_eq!(all[3].auth, RouteAuth::Iam);
        let servers: Vec<_> = all
            .iter()
            .map(|route| route.server.as_ref().map(|server| server.address.as_str()))
            .collect();
        assert_eq!(servers, [None, None, None, Some("http://c")]);
    }

    #[test]
    fn what_cannot_be_is_said() {
        for (text, want) in [
            ("[[route]]\npath = 'notes'", "begins with a slash"),
            ("[[route]]\npath = '/a'\nauth = 'jwt'", "issuer"),
            ("[[route]]\npath = '/a'\nauth = 'jwt'\nissuer = 'https://a'", "audience"),
            ("[[route]]\npath = '/a'\nscopes = ['x']", "auth = \"jwt\""),
            ("[[route]]\npath = '/a'\nauth = 'basic'", "basic"),
            ("[[route]]\npath = '/a'\nheaders = { x = 'y' }", "say which, as to"),
            ("[[route]]\npath = '/a'\nmehtod = 'GET'", "mehtod"),
            (
                "[[route]]\npath = '/a'\n[[route]]\npath = '/a'\nmethod = 'any'",
                "two routes",
            ),
            ("[jwt]\nissuer = 'https://a'\naudience = 1", "a text or a list"),
        ] {
            let error = format!("{:#}", read(text).expect_err(text));
            assert!(error.contains(want), "{text}: {error}");
        }
    }
}
