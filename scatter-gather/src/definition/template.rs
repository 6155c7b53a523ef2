//! Texts with places for what differs from shard to shard: `/shard/${shard}?${query}`.
//!
//! Templates are read once, when a definition is; what they are filled with is escaped for where it
//! goes, so that a body cannot become a header nor a key a path.

use bytes::{Bytes, BytesMut};

/// A text with places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Place(Place),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Shard,
    From,
    To,
    Body,
    Query,
}

/// A template that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no place: use ${{shard}}, ${{from}}, ${{to}}, ${{body}} or ${{query}}, and $$ for a dollar"
)]
pub struct TemplateError(pub String);

/// What a template is filled with.
#[derive(Clone, Copy, Debug)]
pub struct Values<'a> {
    /// The shard's id.
    pub shard: &'a str,
    /// Where its range begins.
    pub from: &'a str,
    /// Where it ends.
    pub to: &'a str,
    /// The request's body.
    pub body: &'a Bytes,
    /// The request's query string, without the question mark.
    pub query: &'a str,
}

impl Template {
    /// Reads a template.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let mut parts = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(dollar) = rest.find('$') {
            plain.push_str(&rest[..dollar]);
            rest = &rest[dollar + 1..];
            if let Some(after) = rest.strip_prefix('$') {
                plain.push('$');
                rest = after;
                continue;
            }
            let inside = rest
                .strip_prefix('{')
                .and_then(|after| after.split_once('}'));
            let refusal =
                || TemplateError(format!("${}", rest.chars().take(32).collect::<String>()));
            let (name, after) = inside.ok_or_else(refusal)?;
            let place = match name {
                "shard" => Place::Shard,
                "from" => Place::From,
                "to" => Place::To,
                "body" => Place::Body,
                "query" => Place::Query,
                _ => {
                    return Err(TemplateError(format!(
                        "${{{}}}",
                        name.chars().take(32).collect::<String>()
                    )));
                }
            };
            if !plain.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut plain)));
            }
            parts.push(Part::Place(place));
            rest = after;
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            parts.push(Part::Text(plain));
        }
        Ok(Self { parts })
    }

    /// Whether the body has a place in it.
    pub fn has_body(&self) -> bool {
        self.parts.contains(&Part::Place(Place::Body))
    }

    /// Filled for a path: what is filled in is escaped as `%XX`, but for the query, which is one already.
    pub fn path(&self, values: &Values<'_>) -> String {
        self.text(values, |place, text| match place {
            Place::Query => text.to_owned(),
            _ => percent(text),
        })
    }

    /// Filled for a header: control characters become blanks.
    pub fn header(&self, values: &Values<'_>) -> String {
        self.text(values, |_, text| {
            text.replace(|c: char| c.is_ascii_control(), " ")
        })
    }

    fn text(&self, values: &Values<'_>, escape: impl Fn(Place, &str) -> String) -> String {
        let mut whole = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => whole.push_str(text),
                Part::Place(place) => whole.push_str(&escape(*place, values.of(*place))),
            }
        }
        whole
    }

    /// Filled for a body: texts are escaped as within a JSON text, the body goes in as it is.
    pub fn body(&self, values: &Values<'_>) -> Bytes {
        let mut whole = BytesMut::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => whole.extend_from_slice(text.as_bytes()),
                Part::Place(Place::Body) => whole.extend_from_slice(values.body),
                Part::Place(place) => {
                    let quoted = serde_json::Value::from(values.of(*place)).to_string();
                    whole.extend_from_slice(&quoted.as_bytes()[1..quoted.len() - 1]);
                }
            }
        }
        whole.freeze()
    }
}

impl<'a> Values<'a> {
    fn of(&self, place: Place) -> &'a str {
        match place {
            Place::Shard => self.shard,
            Place::From => self.from,
            Place::To => self.to,
            Place::Query => self.query,
            // Bodies go into bodies only; the check of a definition sees to it.
            Place::Body => "",
        }
    }
}

fn percent(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            safe.push(char::from(byte));
        } else {
            safe.push_str(&format!("%{byte:02X}"));
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Places are filled and escaped for where they stand.
    #[test]
    fn filled_and_escaped() {
        let body = Bytes::from_static(br#"{"q":"x"}"#);
        let values = Values {
            shard: "s/1",
            from: "a\"b",
            to: "m\r\nx: y",
            body: &body,
            query: "a=1&b=%20",
        };
        let path = Template::parse("/x/${shard}?${query}&to=${to}$$").unwrap();
        assert_eq!(path.path(&values), "/x/s%2F1?a=1&b=%20&to=m%0D%0Ax%3A%20y$");
        let text = Template::parse(r#"{"shard":"${shard}","from":"${from}","q":${body}}"#).unwrap();
        assert_eq!(
            text.body(&values),
            r#"{"shard":"s/1","from":"a\"b","q":{"q":"x"}}"#
        );
        assert!(text.has_body());
        assert_eq!(Template::parse("${to}").unwrap().header(&values), "m  x: y");
        for bad in ["$", "${", "${shard", "${colour}", "$x"] {
            assert!(Template::parse(bad).is_err(), "{bad}");
        }
    }
}
