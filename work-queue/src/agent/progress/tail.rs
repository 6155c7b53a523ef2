//! Follows a file that a command appends lines to, or writes anew as ffmpeg does.

use super::parse::{LINE_BYTES_MAX, Parser};
use crate::machine::Progress;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// Most that is read at a time; of a file that grew by more, the end.
const READ_BYTES_MAX: u64 = 256 * 1024;

/// A file being followed.
#[derive(Debug)]
pub(crate) struct Tail {
    path: PathBuf,
    offset: u64,
    partial: Vec<u8>,
    parser: Parser,
}

impl Tail {
    pub(crate) fn new(path: &Path, parser: Parser) -> Self {
        Self {
            path: path.to_owned(),
            offset: 0,
            partial: Vec::new(),
            parser,
        }
    }

    /// Reads what is new and gives the last progress in it. Blocks for a read of a local file.
    pub(crate) fn poll(&mut self) -> io::Result<Option<Progress>> {
        let mut file = match std::fs::File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let size = file.metadata()?.len();
        if size < self.offset {
            self.offset = 0;
            self.partial.clear();
        }
        if size - self.offset > READ_BYTES_MAX {
            self.offset = size - READ_BYTES_MAX;
            self.partial.clear();
        }
        file.seek(SeekFrom::Start(self.offset))?;
        let mut new = Vec::new();
        self.offset += u64::try_from(file.take(READ_BYTES_MAX).read_to_end(&mut new)?).unwrap_or(0);
        self.partial.extend_from_slice(&new);
        let mut last = None;
        let mut begin = 0;
        while let Some(length) = self
            .partial
            .get(begin..)
            .and_then(|rest| rest.iter().position(|byte| *byte == b'\n'))
        {
            let line = self.partial.get(begin..begin + length).unwrap_or_default();
            last = self.parser.line(&String::from_utf8_lossy(line)).or(last);
            begin += length + 1;
        }
        self.partial.drain(..begin);
        if self.partial.len() > LINE_BYTES_MAX {
            self.partial.clear();
        }
        Ok(last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn follows_appended_lines_waits_for_their_end_and_starts_over_when_the_file_is_written_anew() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("progress");
        let mut tail = Tail::new(&path, Parser::default());
        assert_eq!(tail.poll().unwrap(), None, "no file yet");
        let mut file = std::fs::File::create(&path).unwrap();
        write!(file, "1/9\n2/9\n3/").unwrap();
        let done = |tail: &mut Tail| tail.poll().unwrap().map(|progress| progress.done);
        assert_eq!(done(&mut tail), Some(2.0));
        assert_eq!(done(&mut tail), None, "a line without an end is no line");
        writeln!(file, "9").unwrap();
        assert_eq!(done(&mut tail), Some(3.0));
        std::fs::write(&path, "4/9\n").unwrap();
        assert_eq!(done(&mut tail), Some(4.0));
        let mut long = "x".repeat(400_000);
        long.push_str("\n5/9\n");
        std::fs::write(&path, long).unwrap();
        assert_eq!(done(&mut tail), Some(5.0), "the end of what is too much");
    }
}
