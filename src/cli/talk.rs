//! Talk on standard error while a request is under way: what is done, and on a terminal that it goes on.

use std::{
    io::{IsTerminal, Write},
    sync::mpsc::{RecvTimeoutError, Sender, channel},
    thread::JoinHandle,
    time::{Duration, Instant},
};

const FRAME: Duration = Duration::from_millis(100);
/// From then on the time is shown.
const SHOW_TIME: Duration = Duration::from_secs(3);
/// From then on what is waited for is shown.
const SHOW_REASON: Duration = Duration::from_secs(10);
const FRAMES: [char; 4] = ['|', '/', '-', '\\'];

/// A line such as `Scaling dynos... `, until it is ended.
pub struct Talk {
    quiet: bool,
    ended: bool,
    spinner: Option<(Sender<()>, JoinHandle<()>)>,
}

impl Talk {
    /// Begins the line at once.
    pub fn begin(what: &str, waited_for: &str, quiet: bool) -> Self {
        if quiet {
            return Self { quiet, ended: false, spinner: None };
        }
        eprint!("{what}... ");
        let lively = std::io::stderr().is_terminal() && std::env::var("TERM").is_ok_and(|t| t != "dumb" && !t.is_empty());
        let spinner = lively.then(|| {
            let (sender, receiver) = channel::<()>();
            let (what, waited_for) = (what.to_string(), waited_for.to_string());
            let thread = std::thread::spawn(move || {
                let begun = Instant::now();
                for frame in FRAMES.iter().cycle() {
                    if receiver.recv_timeout(FRAME) != Err(RecvTimeoutError::Timeout) {
                        break;
                    }
                    let time = begun.elapsed();
                    let seconds = if time >= SHOW_TIME { format!(" {} s", time.as_secs()) } else { String::new() };
                    let reason = if time >= SHOW_REASON { format!(", waiting for {waited_for}") } else { String::new() };
                    eprint!("\r\x1b[K{what}... {frame}{seconds}{reason}");
                    let _ = std::io::stderr().flush();
                }
                eprint!("\r\x1b[K{what}... ");
            });
            (sender, thread)
        });
        Self { quiet, ended: false, spinner }
    }

    fn still(&mut self) {
        if let Some((sender, thread)) = self.spinner.take() {
            drop(sender);
            let _ = thread.join();
        }
    }

    /// Ends the line.
    pub fn end(mut self, how: &str) {
        self.still();
        self.ended = true;
        if !self.quiet {
            eprintln!("{how}");
        }
    }
}

impl Drop for Talk {
    fn drop(&mut self) {
        self.still();
        if !self.ended && !self.quiet {
            eprintln!("!");
        }
    }
}
