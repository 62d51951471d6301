//! Checks the CSV of a run: is every request there, once, and was it answered well?

use super::journal::HEADER;
use super::report::FIRST_FAILURE;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, BufRead, Read};

/// Bytes of a line.
const MAX_LINE_BYTES: u64 = 64 * 1024;
/// Rows that can be expected: a bit is kept for each.
const MAX_EXPECTED: u64 = 1 << 32;
/// Different backends that are counted.
const MAX_BACKENDS: usize = 10_000;

/// What a CSV should hold.
#[derive(Clone, Copy, Debug)]
pub struct CsvCheck {
    /// How many rows.
    pub expected: u64,
    /// How far each backend's share may be off an even one, as a part of it; `None` = any share.
    pub tolerance: Option<f64>,
}

/// A way in which a CSV does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Flaw {
    /// The first line is not the header.
    Header,
    /// Fewer rows than expected.
    RowsMissing,
    /// More rows than expected.
    RowsTooMany,
    /// A row has another number of columns.
    Columns,
    /// A column that should be a number is none.
    Number,
    /// A number of a request is not one of 1 to the number expected.
    SeqRange,
    /// A number of a request stands twice.
    SeqDuplicate,
    /// A number of a request does not stand at all.
    SeqMissing,
    /// A status is not 2xx or 3xx.
    Status,
    /// A request got an error.
    Error,
    /// It is not said who answered.
    NoBackend,
    /// A backend got more or less than its share.
    Share,
}

impl Flaw {
    /// Its code in JSON.
    pub fn code(self) -> &'static str {
        match self {
            Flaw::Header => "header",
            Flaw::RowsMissing => "rows_missing",
            Flaw::RowsTooMany => "rows_too_many",
            Flaw::Columns => "columns",
            Flaw::Number => "number",
            Flaw::SeqRange => "seq_range",
            Flaw::SeqDuplicate => "seq_duplicate",
            Flaw::SeqMissing => "seq_missing",
            Flaw::Status => "status",
            Flaw::Error => "error",
            Flaw::NoBackend => "no_backend",
            Flaw::Share => "share",
        }
    }
}

/// How often a CSV does not hold in one way, and where first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How often.
    pub count: u64,
    /// The first time, in words.
    pub first: String,
}

/// What a check found.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// Rows without the header.
    pub rows: u64,
    /// How many rows were expected.
    pub expected: u64,
    /// Rows of each backend.
    pub backends: BTreeMap<String, u64>,
    /// Everything that does not hold.
    pub flaws: BTreeMap<Flaw, Finding>,
}

impl Verdict {
    /// True if everything holds.
    pub fn holds(&self) -> bool {
        self.flaws.is_empty()
    }

    /// The verdict as JSON.
    pub fn to_json(&self) -> Value {
        let reasons: Vec<_> = self
            .flaws
            .iter()
            .map(|(flaw, f)| json!({"reason": flaw.code(), "count": f.count, "first": f.first}))
            .collect();
        json!({
            "ok": self.holds(),
            "rows": self.rows,
            "expected": self.expected,
            "backends": self.backends,
            "reasons": reasons,
        })
    }

    fn note(&mut self, flaw: Flaw, text: impl Into<String>) {
        let found = self.flaws.entry(flaw);
        found.or_insert_with(|| Finding { count: 0, first: text.into() }).count += 1;
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Verdict { rows, expected, .. } = self;
        for (flaw, finding) in &self.flaws {
            let more = match finding.count {
                1 => String::new(),
                count => format!(" ({count} times)"),
            };
            writeln!(f, "{}: {}{more}", flaw.code(), finding.first)?;
        }
        for (name, count) in &self.backends {
            writeln!(f, "{name:?}: {count} rows")?;
        }
        let word = if self.holds() { "holds" } else { "DOES NOT HOLD" };
        writeln!(f, "{word}: {rows} rows, {expected} expected")
    }
}

impl CsvCheck {
    /// Reads a whole CSV.
    ///
    /// # Errors
    /// What the reader says, or `InvalidInput` for more than 2^32 expected rows.
    pub fn read(&self, input: impl BufRead) -> io::Result<Verdict> {
        if self.expected > MAX_EXPECTED {
            let why = "more than 4294967296 rows cannot be checked";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        let mut verdict = Verdict { expected: self.expected, ..Verdict::default() };
        let mut lines = Lines { input, line: Vec::new(), number: 0 };
        match lines.next()? {
            Some(line) if line == HEADER => {}
            Some(line) => verdict.note(Flaw::Header, format!("line 1 is {:?}", shorten(&line))),
            None => verdict.note(Flaw::Header, "the file is empty"),
        }
        let mut seen = Seen::new(self.expected);
        while let Some(line) = lines.next()? {
            verdict.rows += 1;
            check_row(&line, lines.number, &mut seen, &mut verdict);
        }
        self.check_whole(&seen, &mut verdict);
        Ok(verdict)
    }

    fn check_whole(&self, seen: &Seen, verdict: &mut Verdict) {
        let (rows, expected) = (verdict.rows, self.expected);
        if rows < expected {
            verdict.note(Flaw::RowsMissing, format!("{rows} rows, {expected} expected"));
        } else if rows > expected {
            verdict.note(Flaw::RowsTooMany, format!("{rows} rows, {expected} expected"));
        }
        if let Some(first) = seen.first_missing() {
            let text = format!("no row has the seq {first}");
            verdict.flaws.insert(Flaw::SeqMissing, Finding { count: seen.missing(), first: text });
        }
        if let Some(tolerance) = self.tolerance {
            check_shares(tolerance, verdict);
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "shares, not counts")]
fn check_shares(tolerance: f64, verdict: &mut Verdict) {
    let total: u64 = verdict.backends.values().sum();
    let even = total as f64 / verdict.backends.len().max(1) as f64;
    let off: Vec<_> = verdict
        .backends
        .iter()
        .filter(|(_, count)| (**count as f64 - even).abs() > tolerance * even)
        .map(|(name, count)| {
            format!("{name:?} has {count} of {total} rows, {even:.1} are its share")
        })
        .collect();
    off.into_iter().for_each(|text| verdict.note(Flaw::Share, text));
}

fn check_row(line: &str, number: u64, seen: &mut Seen, verdict: &mut Verdict) {
    let cells = split_cells(line);
    let [seq, start, latency, status, backend, bytes, error] = cells.as_slice() else {
        let text = format!("line {number} has {} columns, not 7", cells.len());
        return verdict.note(Flaw::Columns, text);
    };
    let columns = [("seq", seq), ("start_ns", start), ("latency_ns", latency), ("bytes", bytes)];
    for (name, cell) in columns {
        if parse_number(cell).is_none() {
            verdict.note(Flaw::Number, format!("line {number}: {name} is {:?}", shorten(cell)));
        }
    }
    if let Some(seq) = parse_number(seq) {
        match seen.add(seq) {
            Added::New => {}
            Added::Again => verdict.note(Flaw::SeqDuplicate, format!("line {number}: seq {seq}")),
            Added::Outside => verdict.note(Flaw::SeqRange, format!("line {number}: seq {seq}")),
        }
    }
    match parse_number(status) {
        Some(status) if (200..u64::from(FIRST_FAILURE)).contains(&status) => {}
        Some(status) => verdict.note(Flaw::Status, format!("line {number}: status {status}")),
        None => {
            verdict.note(Flaw::Number, format!("line {number}: status is {:?}", shorten(status)));
        }
    }
    if !error.is_empty() {
        verdict.note(Flaw::Error, format!("line {number}: {}", shorten(error)));
    }
    if backend.is_empty() {
        verdict.note(Flaw::NoBackend, format!("line {number}"));
    } else if verdict.backends.len() < MAX_BACKENDS || verdict.backends.contains_key(backend) {
        *verdict.backends.entry(backend.clone()).or_default() += 1;
    }
}

/// Digits alone: no sign, no space.
fn parse_number(cell: &str) -> Option<u64> {
    cell.bytes().all(|byte| byte.is_ascii_digit()).then(|| cell.parse().ok())?
}

/// The cells of a line, quoted as RFC 4180 has it.
fn split_cells(line: &str) -> Vec<String> {
    let mut cells = vec![String::new()];
    let mut quoted = false;
    let mut characters = line.chars().peekable();
    while let Some(c) = characters.next() {
        match c {
            '"' if quoted && characters.peek() == Some(&'"') => {
                characters.next();
                push(&mut cells, '"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => cells.push(String::new()),
            _ => push(&mut cells, c),
        }
    }
    cells
}

fn push(cells: &mut [String], c: char) {
    if let Some(cell) = cells.last_mut() {
        cell.push(c);
    }
}

fn shorten(text: &str) -> String {
    text.chars().take(80).collect()
}

/// The lines of a CSV.
struct Lines<R> {
    input: R,
    line: Vec<u8>,
    /// Of the line that was read last, from 1.
    number: u64,
}

impl<R: BufRead> Lines<R> {
    fn next(&mut self) -> io::Result<Option<String>> {
        self.line.clear();
        let mut bounded = (&mut self.input).take(MAX_LINE_BYTES);
        if bounded.read_until(b'\n', &mut self.line)? == 0 {
            return Ok(None);
        }
        self.number += 1;
        let line = self.line.strip_suffix(b"\n").unwrap_or(&self.line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        Ok(Some(String::from_utf8_lossy(line).into_owned()))
    }
}

/// Which of the numbers from 1 on have been seen, a bit for each.
struct Seen {
    bits: Vec<u64>,
    expected: u64,
    seen: u64,
}

enum Added {
    New,
    Again,
    Outside,
}

impl Seen {
    fn new(expected: u64) -> Seen {
        // At most 2^26 words.
        let words = usize::try_from(expected / 64 + 1).unwrap_or_default();
        Seen { bits: vec![0; words], expected, seen: 0 }
    }

    fn add(&mut self, seq: u64) -> Added {
        if seq == 0 || seq > self.expected {
            return Added::Outside;
        }
        let (word, bit) = (usize::try_from(seq / 64).unwrap_or_default(), 1 << (seq % 64));
        if self.bits[word] & bit != 0 {
            return Added::Again;
        }
        self.bits[word] |= bit;
        self.seen += 1;
        Added::New
    }

    fn missing(&self) -> u64 {
        self.expected - self.seen
    }

    fn first_missing(&self) -> Option<u64> {
        // Bit 0 stands for no request.
        let words = (0..).zip(self.bits.iter().enumerate());
        let free =
            words.map(|(base, (index, word))| (base, if index == 0 { word | 1 } else { *word }));
        let mut free = free.filter(|(_, word)| *word != u64::MAX);
        let (base, word) = free.next()?;
        let first: u64 = base * 64 + u64::from(word.trailing_ones());
        (first <= self.expected).then_some(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good(rows: u64) -> Vec<String> {
        let row = |n| format!("{n},{},2000,200,b{},5,", n * 10, n % 3);
        std::iter::once(HEADER.to_owned()).chain((1..=rows).map(row)).collect()
    }

    fn check(lines: &[String], expected: u64, tolerance: Option<f64>) -> Verdict {
        let text = lines.join("\r\n");
        CsvCheck { expected, tolerance }.read(text.as_bytes()).expect("memory")
    }

    #[test]
    fn a_good_file_holds() {
        for rows in [0, 1, 63, 64, 65, 300] {
            let verdict = check(&good(rows), rows, None);
            assert!(verdict.holds(), "{verdict}");
        }
        assert!(check(&good(300), 300, Some(0.0)).holds());
        assert_eq!(check(&good(3), 3, None).to_json()["ok"], true);
    }

    #[test]
    fn a_quoted_cell_is_one() {
        assert_eq!(split_cells("1,\"a,\"\"b\"\"\",2"), ["1", "a,\"b\"", "2"]);
        assert_eq!(split_cells(""), [""]);
    }

    #[test]
    fn doctored_files_do_not_hold() {
        type Doctor = fn(&mut Vec<String>);
        let cases: &[(Flaw, Doctor)] = &[
            (Flaw::Header, |lines| lines.clear()),
            (Flaw::Header, |lines| drop(lines.remove(0))),
            (Flaw::RowsMissing, |lines| lines.truncate(100)),
            (Flaw::SeqMissing, |lines| drop(lines.remove(70))),
            (Flaw::RowsTooMany, |lines| lines.push("301,1,1,200,b0,5,".to_owned())),
            (Flaw::SeqRange, |lines| lines[9] = "0,1,1,200,b0,5,".to_owned()),
            (Flaw::SeqDuplicate, |lines| lines[9] = lines[8].clone()),
            (Flaw::Columns, |lines| lines[9] = "9,1,1,200,b0,5".to_owned()),
            (Flaw::Number, |lines| lines[9] = "9,1,-5,200,b0,5,".to_owned()),
            (Flaw::Number, |lines| lines[9] = "9,1,1,OK,b0,5,".to_owned()),
            (Flaw::Number, |lines| lines[9] = "9,1,,200,b0,5,".to_owned()),
            (Flaw::Status, |lines| lines[9] = "9,1,1,400,b0,5,".to_owned()),
            (Flaw::Status, |lines| lines[9] = "9,1,1,101,b0,5,".to_owned()),
            (Flaw::Error, |lines| lines[9] = "9,1,1,200,b0,5,reset".to_owned()),
            (Flaw::NoBackend, |lines| lines[9] = "9,1,1,200,,5,".to_owned()),
            (Flaw::Share, |lines| {
                lines[9..200].iter_mut().for_each(|l| *l = l.replace("b1", "b2"))
            }),
        ];
        for (index, (flaw, doctor)) in cases.iter().enumerate() {
            let mut lines = good(300);
            doctor(&mut lines);
            let verdict = check(&lines, 300, Some(0.1));
            assert!(verdict.flaws.contains_key(flaw), "case {index}, {flaw:?}: {verdict}");
        }
    }

    #[test]
    fn a_file_that_is_no_csv_is_read_in_bounded_pieces() {
        let noise = vec![b'x'; 200_000];
        let verdict = CsvCheck { expected: 1, tolerance: None }.read(noise.as_slice());
        assert!(!verdict.expect("memory").holds());
    }
}
