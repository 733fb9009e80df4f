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
        fs::create_dir_all(&traces).unwrap();
        let mut command = Command::new("strace");
        command.args(["-ff", "-qq", "-s", "200", "-e", "trace=connect,sendto,sendmsg,sendmmsg", "-o"]);
        command.arg(traces.join("t")).arg(BIN).args(["heroku", "--"]).args(words(line)).env_clear().current_dir(&table.dir);
        table.environment(&mut command);
        command.stdin(Stdio::null()).output().unwrap();
        for file in fs::read_dir(&traces).unwrap().flatten() {
            let text = fs::read_to_string(file.path()).unwrap();
            connects += text.matches("connect(").count();
            let left: Vec<&str> = text.lines().filter(|call| leaves(call)).collect();
            assert!(left.is_empty(), "heroku {line}: {left:#?}");
        }
        fs::remove_dir_all(&traces).unwrap();
    }
    assert!(connects > LINES.len(), "{connects} connections: the calls were not seen");
    println!("official CLI, no other host: {} of {}", LINES.len(), LINES.len());
}
