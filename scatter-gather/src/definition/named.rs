//! A replica as a definition names it: one address, all addresses of a name, or the services behind one.

use crate::pool::{LeafUrl, UrlError};

/// A replica, or a name for several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Named {
    /// Where it is; for services the name stands in the place of the host, and the port means nothing.
    pub url: LeafUrl,
    /// How it is found.
    pub how: Found,
}

/// How replicas are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Found {
    /// It is one.
    Plain,
    /// Each address of the name is one.
    Addresses,
    /// Each service of the name is one.
    Services,
}

impl Named {
    /// Reads `http://host:port/base`, `dns+http://name:port/base` or `srv+http://_service._tcp.name/base`.
    ///
    /// # Errors
    /// What is none of them, or must not be called.
    pub(crate) fn parse(text: &str) -> Result<Self, UrlError> {
        let (rest, how) = if let Some(rest) = text.strip_prefix("dns+") {
            (rest, Found::Addresses)
        } else if let Some(rest) = text.strip_prefix("srv+") {
            (rest, Found::Services)
        } else {
            (text, Found::Plain)
        };
        let url = LeafUrl::parse(rest)?;
        let authority = rest.split("://").nth(1).unwrap_or_default();
        let authority = authority.split('/').next().unwrap_or_default();
        if how == Found::Services && authority.contains(':') {
            return Err(UrlError {
                url: text.chars().take(100).collect(),
                problem: "names a port, which SRV records do: write srv+http://_leaf._tcp.name"
                    .to_owned(),
            });
        }
        Ok(Self { url, how })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each kind is read, and a port where records have it is refused.
    #[test]
    fn replicas_are_named() {
        for (text, how) in [
            ("http://leaf:80/x", Found::Plain),
            ("dns+http://leaf:80/x", Found::Addresses),
            ("srv+http://_leaf._tcp.search.example/x", Found::Services),
        ] {
            let named = Named::parse(text).unwrap();
            assert_eq!((named.how, named.url.base()), (how, "/x"));
        }
        for bad in [
            "srv+http://_leaf._tcp.x:80",
            "mx+http://leaf",
            "srv+dns+http://leaf",
            "dns+",
            "srv+",
        ] {
            assert!(Named::parse(bad).is_err(), "{bad}");
        }
    }
}
