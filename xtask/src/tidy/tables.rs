//! Tables of latencies: within a row no percentile is below a lower one. A row that says otherwise
//! was not measured, whatever it was.

use super::source::Source;
use super::{Finding, Rule};

/// What a column of a table is headed with, the lowest first.
const PERCENTILES: &[&str] = &["p50", "p75", "p90", "p95", "p99", "p99.9", "p999", "max"];

/// A column of percentiles: its place in the row, which one it is, and its unit.
struct Column {
    at: usize,
    rank: usize,
    unit: String,
}

pub(super) fn check(source: &Source, findings: &mut Vec<Finding>) {
    if !source.path.ends_with(".md") {
        return;
    }
    let mut columns = Vec::new();
    let mut before: &str = "";
    for (index, line) in source.lines.iter().enumerate() {
        if is_rule(line) {
            columns = columns_of(before);
        } else if !line.trim_start().starts_with('|') {
            columns.clear();
        } else if let Some(message) = fall(&columns, line) {
            findings.push(source.finding(index + 1, Rule::Percentiles, message));
        }
        before = line;
    }
}

/// The line between the head of a table and its rows.
fn is_rule(line: &str) -> bool {
    line.trim_start().starts_with('|')
        && line.contains("--")
        && line.chars().all(|letter| matches!(letter, '|' | '-' | ':' | ' '))
}

fn cells(line: &str) -> impl Iterator<Item = &str> {
    line.trim().trim_matches('|').split('|').map(str::trim)
}

fn columns_of(head: &str) -> Vec<Column> {
    let column = |(at, cell): (usize, &str)| {
        let (name, unit) = cell.split_once(' ').unwrap_or((cell, ""));
        let rank = PERCENTILES.iter().position(|known| *known == name)?;
        Some(Column { at, rank, unit: unit.to_owned() })
    };
    cells(head).enumerate().filter_map(column).collect()
}

/// What is wrong with a row, if something is.
fn fall(columns: &[Column], row: &str) -> Option<String> {
    let cells: Vec<&str> = cells(row).collect();
    let value = |column: &Column| cells.get(column.at)?.replace(',', "").parse::<f64>().ok();
    columns.iter().find_map(|low| {
        let higher = |high: &&Column| high.rank > low.rank && high.unit == low.unit;
        let falls = |high: &&Column| value(high) < value(low) && value(high).is_some();
        let high = columns.iter().filter(higher).find(falls)?;
        let (low, high) = (low.rank, high.rank);
        Some(format!("{} is below {} of the same row", PERCENTILES[high], PERCENTILES[low]))
    })
}

#[cfg(test)]
mod tests {
    use crate::tidy::rules;

    #[test]
    fn percentiles_rise_along_a_row() {
        let table = |row: &str| {
            format!("| at | p50 ms | p99 ms | max ms | p50 MiB |\n|---|--:|--:|--:|--:|\n{row}\n")
        };
        for (row, expected) in [
            ("| a | 1 | 2.5 | 1,000 | 0.5 |", vec![]),
            ("| a | 1 | 1 | 1 | 9 |", vec![]),
            ("| a | 15 | 0.195 | 20 | - |", vec!["percentiles"]),
            ("| a | 1 | 20 | 19 | - |", vec!["percentiles"]),
            ("| a | 1 | - | 0.5 | - |", vec!["percentiles"]),
            ("| a | - | - | - | - |", vec![]),
            ("| short |", vec![]),
            ("no row\n| a | 2 | 1 | 0 | - |", vec![]),
        ] {
            assert_eq!(rules("docs/index.md", &table(row)), expected, "{row}");
            assert!(rules("docs/index.txt", &table(row)).is_empty());
        }
    }
}
