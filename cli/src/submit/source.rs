//! Where items come from: arguments, files that match a pattern, lines of stdin.

use quorate_work_queue::machine::Blob;
use serde_json::Value;
use std::io::{self, BufRead, Read};
use std::path::PathBuf;

/// Longest line of input: an item may be longer than a payload when a template picks from it, but
/// not without bound.
const LINE_BYTES_MAX: u64 = 1024 * 1024;

/// One thing to make a job of.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Item {
    /// Its number, from 0.
    pub(crate) index: u32,
    /// The argument, the line or the path.
    pub(crate) text: String,
    /// The text as JSON, if it is read as JSON.
    pub(crate) json: Option<Value>,
    /// The file.
    pub(crate) file: Option<File>,
}

/// A file that a job works on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct File {
    /// Absolute path.
    pub(crate) path: PathBuf,
    /// Bytes.
    pub(crate) size: u64,
    /// What workers fetch, once it is handed over.
    pub(crate) blob: Option<Blob>,
}

impl Item {
    /// What to call it in messages.
    pub(crate) fn origin(&self) -> String {
        match &self.file {
            Some(file) => file.path.display().to_string(),
            None => format!("item {} ({})", self.index, shorten(&self.text)),
        }
    }
}

/// Where the items come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// Arguments; JSON where they are JSON, else text.
    Arguments(Vec<String>),
    /// Files that match one of these patterns, in the order of their names.
    Files(Vec<String>),
    /// Each line of stdin is a text.
    Lines,
    /// Each line of stdin is a JSON document.
    JsonLines,
}

impl Source {
    /// The items, one by one: stdin may be long, and slow.
    pub(crate) fn items(
        self,
    ) -> Result<Box<dyn Iterator<Item = Result<Item, String>> + Send>, String> {
        match self {
            Self::Arguments(arguments) => Ok(Box::new(arguments.into_iter().zip(0..).map(
                |(text, index)| {
                    let json = serde_json::from_str(&text).ok();
                    Ok(Item {
                        index,
                        text,
                        json,
                        file: None,
                    })
                },
            ))),
            Self::Files(patterns) => {
                let files = files(&patterns)?;
                Ok(Box::new(files.into_iter().zip(0..).map(|(file, index)| {
                    let text = file
                        .path
                        .to_str()
                        .ok_or_else(|| {
                            format!("{}: the path is not UTF-8; rename it", file.path.display())
                        })?
                        .to_owned();
                    Ok(Item {
                        index,
                        text,
                        json: None,
                        file: Some(file),
                    })
                })))
            }
            Self::Lines => Ok(Box::new(lines(io::BufReader::new(io::stdin()), false))),
            Self::JsonLines => Ok(Box::new(lines(io::BufReader::new(io::stdin()), true))),
        }
    }
}

/// The files that match, sorted by path, each once. No match at all is an error: it is a typing error
/// far more often than an empty directory.
fn files(patterns: &[String]) -> Result<Vec<File>, String> {
    let mut files = Vec::new();
    for pattern in patterns {
        let before = files.len();
        let paths = glob::glob(pattern).map_err(|error| format!("--glob {pattern:?}: {error}"))?;
        for path in paths {
            let path = path.map_err(|error| format!("--glob {pattern:?}: {error}"))?;
            let metadata =
                std::fs::metadata(&path).map_err(|error| format!("{}: {error}", path.display()))?;
            if metadata.is_file() {
                let path = std::path::absolute(&path)
                    .map_err(|error| format!("{}: {error}", path.display()))?;
                files.push(File {
                    path,
                    size: metadata.len(),
                    blob: None,
                });
            }
        }
        if files.len() == before {
            return Err(format!(
                "--glob {pattern:?} matches no file; quote the pattern, so that the shell leaves it alone"
            ));
        }
    }
    files.sort_by(|a: &File, b| a.path.cmp(&b.path));
    files.dedup();
    Ok(files)
}

/// The lines of a reader, empty ones left out.
fn lines(
    mut reader: impl BufRead + Send,
    json: bool,
) -> impl Iterator<Item = Result<Item, String>> + Send {
    let mut number = 0u64;
    let mut index = 0u32;
    std::iter::from_fn(move || {
        loop {
            number += 1;
            let text = match line(&mut reader) {
                Ok(None) => return None,
                Ok(Some(text)) if text.trim().is_empty() => continue,
                Ok(Some(text)) => text,
                Err(error) => return Some(Err(format!("line {number} of stdin: {error}"))),
            };
            let parsed = if json {
                match serde_json::from_str(&text) {
                    Ok(value) => Some(value),
                    Err(error) => {
                        return Some(Err(format!("line {number} of stdin is not JSON: {error}")));
                    }
                }
            } else {
                None
            };
            let item = Item {
                index,
                text,
                json: parsed,
                file: None,
            };
            index += 1;
            return Some(Ok(item));
        }
    })
}

fn line(reader: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut text = String::new();
    let read = reader.take(LINE_BYTES_MAX + 1).read_line(&mut text)?;
    if read as u64 > LINE_BYTES_MAX {
        return Err(io::Error::other(format!(
            "it is longer than {LINE_BYTES_MAX} bytes"
        )));
    }
    text.truncate(text.trim_end_matches(['\n', '\r']).len());
    Ok((read > 0).then_some(text))
}

/// The beginning of a text, for messages.
pub(crate) fn shorten(text: &str) -> String {
    const CHARS: usize = 40;
    let mut short: String = text.chars().take(CHARS).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, json: bool) -> Vec<Result<Item, String>> {
        lines(io::Cursor::new(text.to_owned()), json).collect()
    }

    #[test]
    fn lines_are_numbered_without_the_empty_ones_and_a_bad_one_is_named() {
        let items: Vec<_> = read("a\n\n b\r\n", false)
            .into_iter()
            .map(Result::unwrap)
            .collect();
        let texts: Vec<_> = items
            .iter()
            .map(|item| (item.index, item.text.as_str()))
            .collect();
        assert_eq!(texts, [(0, "a"), (1, " b")]);

        let bad = read("{}\n\n{x\n", true);
        assert!(bad[0].is_ok());
        assert!(bad[1].as_ref().unwrap_err().contains("line 3"), "{bad:?}");
    }

    #[test]
    fn an_endless_line_is_refused_and_not_kept_in_memory() {
        let endless = io::BufReader::new(io::repeat(b'x'));
        let first = lines(endless, false).next().unwrap();
        assert!(first.unwrap_err().contains("longer than"));
    }

    #[test]
    fn files_come_sorted_once_absolute_and_without_directories() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["b.mp4", "a.mp4", "c.txt"] {
            std::fs::write(dir.path().join(name), name).unwrap();
        }
        std::fs::create_dir(dir.path().join("d.mp4")).unwrap();
        let pattern = |p: &str| dir.path().join(p).to_str().unwrap().to_owned();
        let found = files(&[pattern("*.mp4"), pattern("a*")]).unwrap();
        let names: Vec<_> = found
            .iter()
            .map(|f| f.path.file_name().unwrap().to_str().unwrap())
            .collect();
        assert_eq!(names, ["a.mp4", "b.mp4"]);
        assert!(found.iter().all(|f| f.path.is_absolute() && f.size == 5));
        assert!(files(&[pattern("*.nope")]).is_err());
    }
}
