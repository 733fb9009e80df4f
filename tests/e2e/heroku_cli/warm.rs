//! One process of the official CLI, by way of a bridge, that runs one line after the other.

use super::{BIN, Ran, Table};
use serde_json::{Value, json};
use std::{
    fs,
    io::{BufRead, BufReader, Write},
    os::unix::{fs::PermissionsExt, net::UnixListener, net::UnixStream},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

/// No line may take longer.
const LINE_LIMIT: Duration = Duration::from_secs(60);

pub(super) struct Warm {
    child: Child,
    stream: BufReader<UnixStream>,
}

impl Warm {
    /// As the table's other processes, with a program called `heroku` that loads the official one and waits for lines.
    pub(super) fn start(table: &Table) -> Self {
        Self::start_by(table, Command::new(BIN))
    }

    /// As [`Warm::start`], by a command that ends with the program, so that something may look on.
    pub(super) fn start_by(table: &Table, mut command: Command) -> Self {
        let own = tempfile::tempdir().unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/clients/warm_heroku.mjs");
        let named = own.path().join("heroku");
        fs::write(&named, format!("#!/bin/sh\nexec node --no-deprecation '{}' \"$@\"\n", script.display())).unwrap();
        fs::set_permissions(&named, fs::Permissions::from_mode(0o755)).unwrap();
        let socket = own.path().join("lines");
        let listener = UnixListener::bind(&socket).unwrap();
        command.args(["heroku", "--"]).arg(&socket).env_clear().current_dir(&table.dir);
        table.environment(&mut command);
        let path = format!("{}:{}:{}", own.path().display(), table.bin.display(), std::env::var("PATH").unwrap());
        command.env("PATH", path).env("WARM_HEROKU", table.bin.join("../heroku/bin/run.js"));
        let mut child = command.stdin(Stdio::null()).spawn().unwrap();
        listener.set_nonblocking(true).unwrap();
        let stream = super::eventually("the CLI is loaded", || {
            assert!(child.try_wait().unwrap().is_none(), "the CLI does not start");
            listener.accept().ok()
        });
        let stream = stream.0;
        stream.set_nonblocking(false).unwrap();
        stream.set_read_timeout(Some(LINE_LIMIT)).unwrap();
        Self { child, stream: BufReader::new(stream) }
    }

    pub(super) fn run(&mut self, words: &[String]) -> Ran {
        writeln!(self.stream.get_mut(), "{}", json!(words)).unwrap();
        let mut line = String::new();
        let read = self.stream.read_line(&mut line);
        assert!(read.is_ok_and(|read| read > 0), "heroku {words:?}: the CLI is gone, or hangs");
        let answer: Value = serde_json::from_str(&line).unwrap();
        let code = answer["code"].as_i64().and_then(|code| i32::try_from(code).ok());
        Ran { code, printed: answer["printed"].as_str().unwrap_or_default().to_string() }
    }
}

impl Drop for Warm {
    /// It ends when nobody sends it lines.
    fn drop(&mut self) {
        let _ = self.stream.get_mut().shutdown(std::net::Shutdown::Both);
        let _ = self.child.wait();
    }
}
