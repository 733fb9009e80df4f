//! Tells systemd that the daemon is alive, as often as its unit asks (`WatchdogSec=`).
//!
//! Alive means that the control plane's and the router's threads both take work. A store that waits for a full disk is no
//! reason to be restarted: the apps are served all the same.

use std::time::Duration;
use tokio::runtime::Handle;

/// Starts it; without a watchdog there is nothing to do. Call on the control plane's threads.
pub fn start(router: Handle) {
    let Some(limit) = sd_notify::watchdog_enabled() else { return };
    tokio::spawn(async move {
        loop {
            if let Err(e) = router.spawn(async {}).await {
                tracing::error!(error = %e, "tidemill.watchdog: the router's threads take no work");
                return;
            }
            if let Err(e) = sd_notify::notify(&[sd_notify::NotifyState::Watchdog]) {
                tracing::warn!(error = %e, "tidemill.watchdog");
            }
            tokio::time::sleep(pause(limit)).await;
        }
    });
}

/// A third of the limit: one late turn does no harm.
fn pause(limit: Duration) -> Duration {
    limit / 3
}
