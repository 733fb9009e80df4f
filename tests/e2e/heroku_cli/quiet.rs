//! No other name is ever resolved and no other host asked (`ux.md` J13): every system call of the CLI that could is looked at.

use super::*;
use std::fs;

/// Command lines that would ask the most hosts.
const LINES: &[&str] = &[
    "auth:whoami",
    "apps",
    "info -a shop",
    "notifications",
    "apps:favorites",
    "apps:errors -a shop",
    "logs -a shop",
    "nosuch",
];

/// What a call to the network is about, if that is not this computer.
fn leaves(call: &str) -> bool {
    let to_network = call.contains("AF_INET");
    let loopback = call.contains("inet_addr(\"127.0.0.1\")") || call.contains("\"::1\"");
    let name_server = call.contains("htons(53)");
    to_network && (!loopback || name_server)
}

/// One line of every command that is in a table: a first word once. What would wait for more, or sign the CLI out, is not
/// among them; what ends the app comes last.
fn one_of_each() -> Vec<String> {
    const NOT: &[&str] = &["run", "logs", "ps:exec", "ps:copy", "ps:forward", "ps:socks", "auth:login", "login", "logout"];
    const LAST: &[&str] = &["destroy", "delete", "rename", "transfer", "leave", "remove"];
    let (mut seen, mut lines) = (std::collections::BTreeSet::new(), Vec::new());
    for table in coverage::TABLES {
        for piece in [".shows(\"", ".refused(\"", ".line(\""].iter().flat_map(|call| table.split(call).skip(1)) {
            let line = piece.split('"').next().unwrap_or_default();
            let first = line.split(' ').next().unwrap_or_default();
            let odd = line.contains(['{', '\\']) || NOT.contains(&first) || line.contains("logout") || line.contains("--tail");
            if !odd && seen.insert(first.to_string()) {
                lines.push(line.to_string());
            }
        }
    }
    lines.sort_by_key(|line| LAST.iter().any(|word| line.contains(word)));
    lines
}

fn strace(traces: &Path) -> Command {
    fs::create_dir_all(traces).unwrap();
    let mut command = Command::new("strace");
    command.args(["-ff", "-qq", "--seccomp-bpf", "-s", "200", "-e", "trace=connect,sendto,sendmsg,sendmmsg", "-o"]);
    command.arg(traces.join("t")).arg(BIN);
    command
}

/// How many connections were seen; none may have left.
fn nothing_left(traces: &Path, what: &str) -> usize {
    let mut connects = 0;
    for file in fs::read_dir(traces).unwrap().flatten() {
        let text = fs::read_to_string(file.path()).unwrap();
        connects += text.matches("connect(").count();
        let left: Vec<&str> = text.lines().filter(|call| leaves(call)).collect();
        assert!(left.is_empty(), "heroku {what}: {left:#?}");
    }
    fs::remove_dir_all(traces).unwrap();
    connects
}

#[test]
fn heroku_cli_asks_no_other_host_and_resolves_no_name() {
    let Some(table) = Table::start("no other host") else { return };
    if Command::new("strace").arg("-V").output().is_err() {
        println!("SKIPPED: looking at system calls needs strace");
        assert!(std::env::var_os("CI").is_none(), "nothing may be skipped in CI");
        return;
    }
    table.platform.create("shop");
    assert!(leaves("connect(3, {sa_family=AF_INET, sin_port=htons(53), sin_addr=inet_addr(\"127.0.0.53\")}, 16) = 0"));
    assert!(leaves("sendto(3, \"x\", 1, 0, {sa_family=AF_INET6, sin6_port=htons(443), inet_pton(AF_INET6, \"2001:db8::1\")"));
    assert!(!leaves("connect(3, {sa_family=AF_INET, sin_port=htons(5000), sin_addr=inet_addr(\"127.0.0.1\")}, 16) = 0"));
    let traces = table.platform.dir.path().join("traces");
    let mut connects = 0;
    for line in LINES {
        let mut command = strace(&traces);
        command.args(["heroku", "--"]).args(words(line)).env_clear().current_dir(&table.dir);
        table.environment(&mut command);
        command.stdin(Stdio::null()).output().unwrap();
        connects += nothing_left(&traces, line);
    }
    assert!(connects > LINES.len(), "{connects} connections: the calls were not seen");
    // A loaded CLI is watched over one line of each other command.
    let lines = one_of_each();
    assert!(lines.len() >= 120, "{} lines", lines.len());
    let mut warm = warm::Warm::start_by(&table, strace(&traces));
    for line in &lines {
        warm.run(&words(line));
    }
    drop(warm);
    let connects = nothing_left(&traces, "of each command");
    assert!(connects > lines.len() / 2, "{connects} connections: the calls were not seen");
    println!("official CLI, no other host: {} command lines", LINES.len() + lines.len());
}
