//! Tables of comma-separated values, a row at a time: hashes and numbers, no quotes.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use super::{AzureError, MOST_ROWS, file_error};

/// Longest line: 1440 counts of seven digits and four names take a fifth of it.
const LONGEST_LINE: usize = 64 * 1024;

/// An open table.
pub(super) struct Rows {
    path: PathBuf,
    reader: BufReader<File>,
    line: usize,
    text: String,
    /// Names of the columns.
    header: Vec<String>,
}

/// A row.
pub(super) struct Row<'a> {
    path: &'a Path,
    line: usize,
    values: Vec<&'a str>,
}

impl Rows {
    /// Opens a table and reads its header.
    pub(super) fn open(path: &Path) -> Result<Self, AzureError> {
        let file = File::open(path).map_err(file_error(path))?;
        let mut rows = Self {
            path: path.to_owned(),
            reader: BufReader::with_capacity(1 << 20, file),
            line: 0,
            text: String::new(),
            header: Vec::new(),
        };
        if !rows.read_line()? {
            return Err(rows.wrong("the file is empty; its first line names the columns"));
        }
        rows.header = rows.text.split(',').map(|name| name.trim().to_owned()).collect();
        Ok(rows)
    }

    /// Where a column is.
    pub(super) fn column(&self, name: &str) -> Result<usize, AzureError> {
        let found = self.header.iter().position(|column| column == name);
        found.ok_or_else(|| self.wrong(&format!("there is no column '{name}' in the first line")))
    }

    /// The next row, if there is one.
    pub(super) fn next(&mut self) -> Result<Option<Row<'_>>, AzureError> {
        loop {
            if !self.read_line()? {
                return Ok(None);
            }
            if !self.text.is_empty() {
                break;
            }
        }
        if self.line > MOST_ROWS {
            let what = format!("more than {MOST_ROWS} rows");
            return Err(AzureError::TooLarge { path: self.path.clone(), what });
        }
        let values: Vec<&str> = self.text.split(',').map(str::trim).collect();
        if values.len() != self.header.len() {
            let (is, must) = (values.len(), self.header.len());
            return Err(self.wrong(&format!("{is} values; the first line names {must} columns")));
        }
        Ok(Some(Row { path: &self.path, line: self.line, values }))
    }

    /// False at the end of the file.
    fn read_line(&mut self) -> Result<bool, AzureError> {
        self.line += 1;
        let mut bytes = std::mem::take(&mut self.text).into_bytes();
        bytes.clear();
        let mut limited = std::io::Read::take(&mut self.reader, LONGEST_LINE as u64);
        let read = limited.read_until(b'\n', &mut bytes).map_err(file_error(&self.path))?;
        if read == LONGEST_LINE && bytes.last() != Some(&b'\n') {
            return Err(self.wrong(&format!("the line is longer than {LONGEST_LINE} bytes")));
        }
        self.text = String::from_utf8(bytes).map_err(|_| self.wrong("the line is not UTF-8"))?;
        while self.text.ends_with(['\n', '\r']) {
            self.text.pop();
        }
        Ok(read > 0)
    }

    fn wrong(&self, what: &str) -> AzureError {
        AzureError::Line { path: self.path.clone(), line: self.line, what: what.to_owned() }
    }
}

impl Row<'_> {
    /// The text in a column.
    pub(super) fn text(&self, column: usize) -> &str {
        self.values.get(column).copied().unwrap_or_default()
    }

    /// A name: 1 to 128 letters, digits, `_` and `-`.
    pub(super) fn name(&self, column: usize) -> Result<&str, AzureError> {
        let text = self.text(column);
        let is_legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        match (1..=128).contains(&text.len()) && text.bytes().all(is_legal) && !text.starts_with('-') {
            true => Ok(text),
            false => Err(self.wrong(format!("'{}' is no hashed name", shown(text)))),
        }
    }

    /// A whole number of calls; none where nothing is written.
    pub(super) fn count(&self, column: usize) -> Result<u32, AzureError> {
        match self.text(column) {
            "" | "0" => Ok(0),
            text => text.parse().map_err(|_| self.wrong(format!("'{}' is no number of calls", shown(text)))),
        }
    }

    /// A measure, if it was recorded: some were not, and stand there empty, negative or as no number.
    pub(super) fn measure(&self, column: usize) -> Result<Option<f64>, AzureError> {
        let text = self.text(column);
        if text.is_empty() {
            return Ok(None);
        }
        let value: f64 = text.parse().map_err(|_| self.wrong(format!("'{}' is no number", shown(text))))?;
        Ok((value.is_finite() && value >= 0.0).then_some(value))
    }

    /// Which line of the file it is.
    pub(super) fn wrong(&self, what: String) -> AzureError {
        AzureError::Line { path: self.path.to_owned(), line: self.line, what }
    }
}

/// The beginning of a text, for an error.
fn shown(text: &str) -> String {
    text.chars().take(40).flat_map(char::escape_default).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &[u8]) -> Result<Vec<(String, u32, Option<f64>)>, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.csv");
        std::fs::write(&path, text).unwrap();
        let read = || -> Result<_, AzureError> {
            let mut rows = Rows::open(&path)?;
            let (name, count) = (rows.column("Name")?, rows.column("1")?);
            let measure = rows.column("M")?;
            let mut found = Vec::new();
            while let Some(row) = rows.next()? {
                found.push((row.name(name)?.to_owned(), row.count(count)?, row.measure(measure)?));
            }
            Ok(found)
        };
        read().map_err(|error| error.to_string().rsplit_once('/').unwrap().1.to_owned())
    }

    #[test]
    fn columns_are_found_by_their_names() {
        let text = b"M,1,Name\r\n1.5,3,ab\r\n\r\n,,cd\n-1,0,ef\nnan,7,g";
        let expected = [("ab", 3, Some(1.5)), ("cd", 0, None), ("ef", 0, None), ("g", 7, None)]
            .map(|(name, count, m)| (name.to_owned(), count, m));
        assert_eq!(read(text), Ok(expected.to_vec()));
    }

    #[test]
    fn what_is_wrong_is_told_with_file_and_line() {
        let long = [b"M,1,Name\n1,1,".as_slice(), &[b'x'; LONGEST_LINE]].concat();
        for (text, what) in [
            (b"".as_slice(), "t.csv:1: the file is empty; its first line names the columns"),
            (b"Name,1\n", "t.csv:1: there is no column 'M' in the first line"),
            (b"M,1,Name\n1,2\n", "t.csv:2: 2 values; the first line names 3 columns"),
            (b"M,1,Name\n1,2,a\nx,2,a\n", "t.csv:3: 'x' is no number"),
            (b"M,1,Name\n1,-2,a\n", "t.csv:2: '-2' is no number of calls"),
            (b"M,1,Name\n1,2,a b\n", "t.csv:2: 'a b' is no hashed name"),
            (b"M,1,Name\n1,2,\n", "t.csv:2: '' is no hashed name"),
            (b"M,1,Name\n1,2,\xff\n", "t.csv:2: the line is not UTF-8"),
            (&long, "t.csv:2: the line is longer than 65536 bytes"),
        ] {
            assert_eq!(read(text), Err(what.to_owned()));
        }
    }
}
