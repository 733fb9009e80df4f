//! DNS-01 by a program of the operator's: `HOOK add|remove NAME RECORD TEXT`. It gets words, never a line for a shell.

use std::{path::Path, process::Stdio, time::Duration};
use tokio::process::Command;

/// Providers are slow at times.
const TIME_LIMIT: Duration = Duration::from_secs(120);
/// Of what the program says when it fails.
const SAID_BYTES_MAX: usize = 300;

/// Name of the record that proves `name`.
pub fn record(name: &str) -> String {
    format!("_acme-challenge.{}", name.strip_prefix("*.").unwrap_or(name))
}

/// Runs it; the reason when it fails.
pub async fn run(hook: &Path, verb: &str, name: &str, text: &str) -> Result<(), String> {
    let mut command = Command::new(hook);
    command.args([verb, name, &record(name), text]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let output = tokio::time::timeout(TIME_LIMIT, command.kill_on_drop(true).output());
    match output.await {
        Err(_) => Err(format!("The DNS hook did not end within {} s.", TIME_LIMIT.as_secs())),
        Ok(Err(e)) => Err(format!("The DNS hook {} can not be run: {e}.", hook.display())),
        Ok(Ok(output)) if !output.status.success() => {
            let said = &output.stderr[..output.stderr.len().min(SAID_BYTES_MAX)];
            Err(format!("The DNS hook failed ({}): {}", output.status, String::from_utf8_lossy(said).trim()))
        }
        Ok(Ok(_)) => Ok(()),
    }
}
