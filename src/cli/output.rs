//! Tables and questions.

use crate::failure::{Failure, Result};
use std::io::{BufRead, IsTerminal, Write};

/// Columns padded to their widest cell, two spaces between; the last one is not padded.
pub fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|r| r.get(column)).map(|c| c.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut out = String::new();
    for row in rows {
        let cells: Vec<String> = row.iter().enumerate().map(|(n, cell)| format!("{cell:<width$}", width = widths[n])).collect();
        out.push_str(cells.join("  ").trim_end());
        out.push('\n');
    }
    out
}

/// Writes a result; a closed pipe is no failure.
pub fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Asks on the terminal.
pub fn ask(question: &str, no_input: bool, flag: &str) -> Result<String> {
    let quiet = no_input || std::env::var_os("CI").is_some();
    if quiet || !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return Err(Failure::usage(format!("This needs an answer and there is no terminal to ask on; use {flag}.")));
    }
    eprint!("{question}");
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).map_err(|e| Failure::failed(e.to_string()))?;
    Ok(line.trim().to_string())
}
