//! Fetching what users name by URL: bounded, and not from private addresses.

use crate::guard;
use std::{fs::File, io, path::Path, time::Duration};

const BYTES_MAX: u64 = 1 << 30;
const REDIRECTS_MAX: u32 = 3;
const TIME_LIMIT: Duration = Duration::from_secs(300);

/// Downloads `url` into `target`. Blocking.
///
/// # Errors
/// The text for the user; the file is removed then.
pub fn fetch_into(url: &str, target: &Path, allow_private: bool) -> Result<(), String> {
    let agent = guard::agent(allow_private, REDIRECTS_MAX, TIME_LIMIT);
    let mut answer = agent.get(url).call().map_err(|e| e.to_string())?;
    let mut body = answer.body_mut().with_config().limit(BYTES_MAX).reader();
    let written = File::create(target).and_then(|mut file| io::copy(&mut body, &mut file));
    written.map(|_| ()).map_err(|e| {
        let _ = std::fs::remove_file(target); // the error that counts is already on its way
        e.to_string()
    })
}
