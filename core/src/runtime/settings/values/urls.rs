//! URLs. None may carry a credential, and none is shown with one.

use super::{Address, Value};

/// `http://host:port` or `https://host:port`, several separated by commas; the scheme may be left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoints(pub Vec<String>);

impl Value for Endpoints {
    fn parse(text: &str) -> Result<Self, String> {
        let mut all = Vec::new();
        for item in text.split(',').map(str::trim).filter(|i| !i.is_empty()) {
            all.push(endpoint(item)?);
        }
        if all.is_empty() {
            return Err("it names no server: give http://host:port, separated by commas".into());
        }
        Ok(Self(all))
    }
    fn show(text: &str) -> String {
        text.split(',').map(redact).collect::<Vec<_>>().join(",")
    }
}

fn endpoint(item: &str) -> Result<String, String> {
    let refusal = |why: &str| {
        format!(
            "{:?} {why}; write http://host:port or https://host:port",
            redact(item)
        )
    };
    let (scheme, rest) = match item.split_once("://") {
        Some((scheme @ ("http" | "https"), rest)) => (scheme, rest),
        Some(_) => return Err(refusal("has a scheme other than http and https")),
        None => ("http", item),
    };
    if rest.contains('@') {
        return Err(refusal(
            "carries a credential: tokens are read from QUORATE_SERVERS_TOKEN_FILE",
        ));
    }
    let address = Address::parse(rest.trim_end_matches('/')).map_err(|e| refusal(&e))?;
    if address.port() == 0 {
        return Err(refusal("has port 0"));
    }
    Ok(format!("{scheme}://{address}"))
}

/// Where blobs are kept: `file:///path` or `s3://bucket/prefix`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlobsUrl(pub String);

impl Value for BlobsUrl {
    fn parse(text: &str) -> Result<Self, String> {
        let shown = redact(text);
        if text.contains('@') {
            return Err(format!("{shown:?} carries a credential; leave it out"));
        }
        let good = text
            .strip_prefix("file://")
            .is_some_and(|path| path.starts_with('/'))
            || text
                .strip_prefix("s3://")
                .is_some_and(|rest| !rest.is_empty());
        if good {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!(
                "{shown:?} is neither file:///absolute/path nor s3://bucket/prefix"
            ))
        }
    }
    fn show(text: &str) -> String {
        redact(text)
    }
}

/// `http://…`, with a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpUrl(pub String);

impl Value for HttpUrl {
    fn parse(text: &str) -> Result<Self, String> {
        let good = text.parse::<http::Uri>().is_ok_and(|uri| {
            uri.scheme_str() == Some("http")
                && uri
                    .authority()
                    .is_some_and(|authority| !authority.as_str().contains('@'))
        });
        if good {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!("{:?} is not http://host:port/path", redact(text)))
        }
    }
    fn show(text: &str) -> String {
        redact(text)
    }
}

/// Hides what stands before an `@` in a URL.
fn redact(url: &str) -> String {
    match url.rsplit_once('@') {
        None => url.to_owned(),
        Some((before, host)) => {
            let scheme = before.split_once("://").map_or("", |(scheme, _)| scheme);
            let joint = if scheme.is_empty() { "" } else { "://" };
            format!("{scheme}{joint}…@{host}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_get_a_scheme_and_never_show_a_credential() {
        assert_eq!(
            Endpoints::parse("http://a:1/,b:2").unwrap().0,
            ["http://a:1", "http://b:2"]
        );
        let error = Endpoints::parse("http://user:hunter2@a:1").unwrap_err();
        assert!(!error.contains("hunter2"), "{error}");
        assert!(!Endpoints::show("http://user:hunter2@a:1").contains("hunter2"));
        assert_eq!(Endpoints::parse("https://a:1/").unwrap().0, ["https://a:1"]);
        assert!(Endpoints::parse(",").is_err());
    }

    #[test]
    fn blobs_are_a_directory_or_a_bucket() {
        assert!(BlobsUrl::parse("file:///var/blobs").is_ok());
        assert!(BlobsUrl::parse("s3://bucket/prefix").is_ok());
        for bad in ["", "file://relative", "s3://", "/var/blobs", "http://x"] {
            assert!(BlobsUrl::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_url_shows_no_credential_and_takes_none() {
        assert!(HttpUrl::parse("http://127.0.0.1:8080/health").is_ok());
        for bad in [
            "",
            "127.0.0.1:8080",
            "https://a/",
            "http://user:hunter2@a/",
            "http://",
        ] {
            let refusal = HttpUrl::parse(bad).unwrap_err();
            assert!(!refusal.contains("hunter2"), "{refusal}");
        }
        assert_eq!(HttpUrl::show("http://user:hunter2@a/"), "http://…@a/");
    }
}
