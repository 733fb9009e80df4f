//! Tables, colours, questions, the pager.

use crate::failure::{Failure, Result};
use std::{
    io::{BufRead, IsTerminal, Write},
    process::{Command, Stdio},
};

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// May this terminal, or not, have colours? `NO_COLOR` goes before `FORCE_COLOR`.
fn is_colourful(is_terminal: bool) -> bool {
    if variable("NO_COLOR").is_some() {
        return false;
    }
    match variable("FORCE_COLOR") {
        Some(forced) => forced != "0",
        None => is_terminal && variable("TERM").is_some_and(|term| term != "dumb"),
    }
}

/// `=== text` on standard output.
pub fn heading(text: &str) -> String {
    if is_colourful(std::io::stdout().is_terminal()) { format!("\x1b[1m=== {text}\x1b[0m\n") } else { format!("=== {text}\n") }
}

/// ` !    text` on standard error, each line.
pub fn warn(text: &str) {
    let bang = if is_colourful(std::io::stderr().is_terminal()) { "\x1b[31m !    \x1b[0m" } else { " !    " };
    eprintln!("{bang}{}", text.replace("\n !    ", &format!("\n{bang}")));
}

/// Columns of the terminal on standard output; `None` when there is none, and nothing has to fit.
fn width() -> Option<usize> {
    if !std::io::stdout().is_terminal() {
        return None;
    }
    let told = variable("COLUMNS").and_then(|c| c.parse().ok());
    told.or_else(|| rustix::termios::tcgetwinsize(std::io::stdout()).ok().map(|s| usize::from(s.ws_col))).filter(|w| *w > 0)
}

/// Columns padded to their widest cell, two spaces between; the last one is not padded. On a terminal that is too
/// narrow, columns go from the right; the first one always stays, and no cell is broken.
pub fn table(rows: &[Vec<String>]) -> String {
    fitted(rows, width())
}

fn fitted(rows: &[Vec<String>], limit: Option<usize>) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|r| r.get(column)).map(|c| c.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let total = |shown: usize| widths[..shown].iter().sum::<usize>() + 2 * shown.saturating_sub(1);
    // With two columns the second one is what was asked for.
    let least = columns.min(2);
    let shown = (least..=columns).rev().find(|shown| limit.is_none_or(|limit| total(*shown) <= limit)).unwrap_or(least);
    let mut out = String::new();
    for row in rows {
        let cells = row.iter().take(shown).enumerate();
        let cells: Vec<String> = cells.map(|(n, cell)| format!("{cell:<width$}", width = widths[n])).collect();
        out.push_str(cells.join("  ").trim_end());
        out.push('\n');
    }
    out
}

/// Lines `Label:  value`, those with a value.
pub fn labelled(rows: &[(&str, String)]) -> String {
    let rows: Vec<Vec<String>> =
        rows.iter().filter(|(_, v)| !v.is_empty()).map(|(label, value)| vec![format!("{label}:"), value.clone()]).collect();
    table(&rows)
}

/// Writes a result; a closed pipe is no failure.
pub fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Writes a result, through `PAGER` when it is longer than the terminal. The pager is a program and its arguments.
pub fn paged(text: &str) {
    let rows = rustix::termios::tcgetwinsize(std::io::stdout()).map_or(usize::MAX, |s| usize::from(s.ws_row));
    let pager = variable("PAGER").filter(|_| std::io::stdout().is_terminal() && text.lines().count() > rows);
    let mut words = pager.iter().flat_map(|p| p.split_whitespace());
    if let Some(program) = words.next()
        && let Ok(mut child) = Command::new(program).args(words).stdin(Stdio::piped()).spawn()
    {
        child.stdin.take().into_iter().for_each(|mut input| {
            let _ = input.write_all(text.as_bytes()); // left before its end
        });
        let _ = child.wait();
        return;
    }
    print(text);
}

/// Is there somebody to ask?
pub fn can_ask(no_input: bool) -> bool {
    !no_input && std::env::var_os("CI").is_none() && std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}

/// Asks on the terminal.
pub fn ask(question: &str, no_input: bool, flag: &str) -> Result<String> {
    if !can_ask(no_input) {
        return Err(Failure::usage(format!("This needs an answer and there is no terminal to ask on; use {flag}.")));
    }
    eprint!("{question}");
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).map_err(|e| Failure::failed(e.to_string()))?;
    Ok(line.trim_end_matches(['\r', '\n']).trim().to_string())
}

/// Asks without showing what is typed.
pub fn ask_secret(question: &str, no_input: bool, flag: &str) -> Result<String> {
    use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
    let stdin = std::io::stdin();
    let before = tcgetattr(&stdin).ok().filter(|_| can_ask(no_input));
    if let Some(before) = &before {
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        tcsetattr(&stdin, OptionalActions::Now, &silent).map_err(|e| Failure::failed(e.to_string()))?;
    }
    let answer = ask(question, no_input, flag);
    if let Some(before) = &before {
        let _ = tcsetattr(&stdin, OptionalActions::Now, before); // a terminal that is gone needs none
        eprintln!();
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_lose_columns_from_the_right_and_never_break_a_cell() {
        let rows =
            vec![vec!["web.1".to_string(), "up".into(), "2 h ago".into()], vec!["w.10".into(), "down".into(), "x".into()]];
        assert_eq!(fitted(&rows, None), "web.1  up    2 h ago\nw.10   down  x\n");
        assert_eq!(fitted(&rows, Some(20)), fitted(&rows, None));
        assert_eq!(fitted(&rows, Some(19)), "web.1  up\nw.10   down\n");
        assert_eq!(fitted(&rows, Some(3)), "web.1  up\nw.10   down\n");
        assert_eq!(fitted(&[], Some(3)), "");
    }
}
