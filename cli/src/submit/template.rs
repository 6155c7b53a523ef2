//! Payload templates: a text with `{placeholders}` that each item fills in.
//!
//! A template that is JSON stays JSON whatever the items hold: placeholders are looked for within its
//! strings only, after parsing, so a quote or a backslash in a file name cannot break out of its
//! string. A string that is nothing but `{index}` or `{size}` becomes a number, and one that is
//! nothing but `{item}` becomes the item's own JSON. Any other template is plain text.

use super::source::Item;
use bytes::Bytes;
use serde_json::Value;

/// A parsed template.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Template {
    /// Filled in within its strings.
    Json(Value),
    /// Filled in as a text.
    Text(Text),
}

/// A text cut at its placeholders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Text(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Plain(String),
    Field(Field),
}

/// What a placeholder stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Field {
    /// `{index}`: number of the item, from 0.
    Index,
    /// `{item}`: the line, the argument or the path as it is.
    Item,
    /// `{path}`: absolute path of the file.
    Path,
    /// `{name}`: its last part.
    Name,
    /// `{stem}`: its name without the extension.
    Stem,
    /// `{ext}`: its extension without the dot.
    Ext,
    /// `{dir}`: the directory it is in.
    Dir,
    /// `{size}`: its bytes.
    Size,
    /// `{/a/0/b}`: JSON pointer (RFC 6901) into a JSON item.
    Pointer(String),
}

/// Placeholders by name, for help and errors.
const KNOWN: &str =
    "{index}, {item}, {path}, {name}, {stem}, {ext}, {dir}, {size} or a JSON pointer as {/a/b}";

impl Template {
    /// Reads a template; an unknown placeholder is an error, because a misspelt one would end up in
    /// every payload.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        match serde_json::from_str::<Value>(text) {
            Ok(value) => {
                check(&value)?;
                Ok(Self::Json(value))
            }
            Err(error) if looks_like_json(text) => {
                Err(format!("the template looks like JSON but is not: {error}"))
            }
            Err(_) => Text::parse(text).map(Self::Text),
        }
    }

    /// The payload for an item, and whether it is JSON.
    pub(crate) fn fill(&self, item: &Item) -> Result<(Bytes, bool), String> {
        match self {
            Self::Json(value) => {
                let filled = fill_value(value, item)?;
                let text = serde_json::to_vec(&filled).map_err(|error| error.to_string())?;
                Ok((Bytes::from(text), true))
            }
            Self::Text(text) => Ok((Bytes::from(text.fill(item)?), false)),
        }
    }
}

/// Begins as only JSON does: an object with its first key, an array with a string or a nested value.
fn looks_like_json(text: &str) -> bool {
    let mut head = text.chars().filter(|c| !c.is_whitespace());
    matches!(
        (head.next(), head.next()),
        (Some('{'), Some('"')) | (Some('['), Some('"' | '[' | '{'))
    )
}

fn check(value: &Value) -> Result<(), String> {
    match value {
        Value::String(text) => Text::parse(text).map(drop),
        Value::Array(items) => items.iter().try_for_each(check),
        Value::Object(fields) => fields.values().try_for_each(check),
        Value::Null | Value::Bool(_) | Value::Number(_) => Ok(()),
    }
}

fn fill_value(value: &Value, item: &Item) -> Result<Value, String> {
    Ok(match value {
        Value::String(text) => match Text::parse(text)?.0.as_slice() {
            [Part::Field(field)] => field.value(item)?,
            parts => Value::String(fill_parts(parts, item)?),
        },
        Value::Array(items) => {
            let filled: Result<_, String> =
                items.iter().map(|value| fill_value(value, item)).collect();
            Value::Array(filled?)
        }
        Value::Object(fields) => {
            let filled: Result<_, String> = fields
                .iter()
                .map(|(name, value)| Ok((name.clone(), fill_value(value, item)?)))
                .collect();
            Value::Object(filled?)
        }
        other => other.clone(),
    })
}

impl Text {
    /// Cuts a text at its placeholders; `{{` and `}}` stand for the braces themselves.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            plain.push_str(&rest[..at]);
            let brace = &rest[at..=at];
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix(brace) {
                plain.push_str(brace);
                rest = after;
            } else if brace == "{" {
                let end = rest.find('}').ok_or_else(|| {
                    format!(
                        "{{{rest}: a placeholder without its closing brace; write {{{{ for a brace"
                    )
                })?;
                if !plain.is_empty() {
                    parts.push(Part::Plain(std::mem::take(&mut plain)));
                }
                parts.push(Part::Field(Field::parse(&rest[..end])?));
                rest = &rest[end + 1..];
            } else {
                plain.push('}');
            }
        }
        plain.push_str(rest);
        if !plain.is_empty() || parts.is_empty() {
            parts.push(Part::Plain(plain));
        }
        Ok(Self(parts))
    }

    /// The text for an item.
    pub(crate) fn fill(&self, item: &Item) -> Result<String, String> {
        fill_parts(&self.0, item)
    }
}

fn fill_parts(parts: &[Part], item: &Item) -> Result<String, String> {
    let mut text = String::new();
    for part in parts {
        match part {
            Part::Plain(plain) => text.push_str(plain),
            Part::Field(field) => match field.value(item)? {
                Value::String(value) => text.push_str(&value),
                value => text.push_str(&value.to_string()),
            },
        }
    }
    Ok(text)
}

impl Field {
    fn parse(name: &str) -> Result<Self, String> {
        Ok(match name {
            "index" => Self::Index,
            "item" => Self::Item,
            "path" => Self::Path,
            "name" => Self::Name,
            "stem" => Self::Stem,
            "ext" => Self::Ext,
            "dir" => Self::Dir,
            "size" => Self::Size,
            pointer if pointer.starts_with('/') => Self::Pointer(pointer.to_owned()),
            _ => {
                return Err(format!(
                    "{{{name}}} is not a placeholder; use {KNOWN}, and {{{{ for a brace"
                ));
            }
        })
    }

    fn value(&self, item: &Item) -> Result<Value, String> {
        let of_file = |part: fn(&std::path::Path) -> Option<&std::ffi::OsStr>| match &item.file {
            Some(file) => part(&file.path)
                .unwrap_or_default()
                .to_str()
                .map(Value::from)
                .ok_or_else(|| {
                    format!("{}: the path is not UTF-8; rename it", file.path.display())
                }),
            None => {
                Err("the template asks for a file, but items are no files; use --glob".to_owned())
            }
        };
        match self {
            Self::Index => Ok(Value::from(item.index)),
            Self::Item => Ok(item
                .json
                .clone()
                .unwrap_or_else(|| Value::from(item.text.as_str()))),
            Self::Path => of_file(|path| Some(path.as_os_str())),
            Self::Name => of_file(std::path::Path::file_name),
            Self::Stem => of_file(std::path::Path::file_stem),
            Self::Ext => of_file(std::path::Path::extension),
            Self::Dir => of_file(|path| path.parent().map(std::path::Path::as_os_str)),
            Self::Size => match &item.file {
                Some(file) => Ok(Value::from(file.size)),
                None => Err("{size} is of files; use --glob".to_owned()),
            },
            Self::Pointer(pointer) => item
                .json
                .as_ref()
                .ok_or_else(|| {
                    format!(
                        "{{{pointer}}} points into JSON, but {} is none",
                        item.origin()
                    )
                })?
                .pointer(pointer)
                .cloned()
                .ok_or_else(|| format!("{} has nothing at {pointer}", item.origin())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::submit::source::File;

    fn film() -> Item {
        Item {
            index: 3,
            text: "/in/a \"b\"\\.mp4".into(),
            json: None,
            file: Some(File {
                path: "/in/a \"b\"\\.mp4".into(),
                size: 1_000,
                blob: None,
            }),
        }
    }

    fn fill(template: &str, item: &Item) -> String {
        let (bytes, _) = Template::parse(template).unwrap().fill(item).unwrap();
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    #[test]
    fn a_hostile_file_name_cannot_break_out_of_its_json_string() {
        let text = fill(
            r#"{"in":"{path}","out":"{stem}.mkv","n":"{index}","bytes":"{size}","k":[1,"x"]}"#,
            &film(),
        );
        let value: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            value,
            serde_json::json!({"in": "/in/a \"b\"\\.mp4", "out": "a \"b\"\\.mkv", "n": 3, "bytes": 1000, "k": [1, "x"]})
        );
    }

    #[test]
    fn text_templates_keep_braces_that_are_doubled() {
        assert_eq!(
            fill("{{{name}}} {dir} {ext}", &film()),
            "{a \"b\"\\.mp4} /in mp4"
        );
        assert_eq!(fill("", &film()), "");
    }

    #[test]
    fn json_items_give_their_fields_and_whole() {
        let item = Item {
            index: 0,
            text: r#"{"id":7,"tags":["x"]}"#.into(),
            json: Some(serde_json::json!({"id": 7, "tags": ["x"]})),
            file: None,
        };
        assert_eq!(
            fill(
                r#"{"all":"{item}","tag":"{/tags/0}","key":"v-{/id}"}"#,
                &item
            ),
            r#"{"all":{"id":7,"tags":["x"]},"key":"v-7","tag":"x"}"#
        );
        let missing = Template::parse("{/nope}").unwrap().fill(&item).unwrap_err();
        assert!(missing.contains("/nope"), "{missing}");
    }

    #[test]
    fn what_cannot_be_filled_is_refused_before_any_job_is_made() {
        for bad in ["{", "{pth}", r#"{"a":"{pth}"}"#, r#"{"a":1,}"#, "x {"] {
            assert!(Template::parse(bad).is_err(), "{bad}");
        }
        let line = Item {
            file: None,
            ..film()
        };
        assert!(Template::parse("{path}").unwrap().fill(&line).is_err());
    }
}
