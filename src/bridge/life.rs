//! The bridge of a shell ends with the shell.

use crate::Place;
use rustix::{
    event::{PollFd, PollFlags, poll},
    process::{Pid, PidfdFlags, pidfd_open},
};
use std::{fs, time::Duration};
use tokio::{
    sync::oneshot,
    time::{Instant, sleep},
};

/// The shell leaves its process id as soon as it has read the lines that were printed for it.
const SHELL_LIMIT: Duration = Duration::from_secs(15);
const LOOK: Duration = Duration::from_millis(50);

/// Comes back when the shell that wrote its process id into the bridge's folder has ended, or when none did so in time: then
/// the lines were only looked at.
pub async fn shell_ended(place: &Place) {
    let limit = Instant::now() + SHELL_LIMIT;
    let pid = loop {
        if let Some(pid) = written(place) {
            break pid;
        }
        if Instant::now() > limit {
            return;
        }
        sleep(LOOK).await;
    };
    let Ok(process) = pidfd_open(pid, PidfdFlags::empty()) else { return };
    let (end, ended) = oneshot::channel();
    // A thread of its own, which ends with the program: this wait can not be given up.
    std::thread::spawn(move || {
        while poll(&mut [PollFd::new(&process, PollFlags::IN)], None) == Err(rustix::io::Errno::INTR) {}
        let _ = end.send(()); // the bridge has ended for another reason
    });
    let _ = ended.await; // an error is an end, too
}

fn written(place: &Place) -> Option<Pid> {
    let text = fs::read_to_string(place.shell()).ok()?;
    let line = text.strip_suffix('\n')?; // written whole
    Pid::from_raw(line.trim().parse().ok()?)
}
