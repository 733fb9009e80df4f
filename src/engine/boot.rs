//! From a cage that runs to a dyno that is up: the port, the health check, the time limit, the place among those that boot.

use crate::{Engine, dynos::lost, sinks::DynoSink};
use domain::{Dyno, DynoState, HealthCheck, health::Tally};
use runtime::Exit;
use std::{net::SocketAddr, time::Duration};
use store::{ReadRows, tables};
use tokio::{net::TcpStream, sync::oneshot};

/// First and longest pause between looks at a booting dyno's port. There is nothing to wait on: the app tells nobody.
const PROBE_FIRST: Duration = Duration::from_millis(10);
const PROBE_LONGEST: Duration = Duration::from_millis(200);
/// One that takes longer to boot than this waits for something, and no longer keeps the others back.
const START_SLOT_LIMIT: Duration = Duration::from_secs(10);

/// A place among the dynos that boot at the same time on this host; given back when dropped, or after a while.
pub struct StartSlot {
    _held: oneshot::Sender<()>,
}

impl StartSlot {
    /// Waits in line. After a reboot of the host everything comes at once, and must not keep itself from coming up.
    pub async fn take(engine: &Engine) -> Option<Self> {
        let permit = engine.shared.start_slots.clone().acquire_owned().await.ok()?;
        let (held, dropped) = oneshot::channel();
        tokio::spawn(async move {
            let _ = tokio::time::timeout(START_SLOT_LIMIT, dropped).await; // either end is the end
            drop(permit);
        });
        Some(Self { _held: held })
    }
}

/// True when the dyno is not to run any more.
pub fn is_stopping(engine: &Engine, dyno: &Dyno) -> bool {
    let row = engine.shared.parts.store.get(&tables::DYNOS, &dyno.id);
    row.is_ok_and(|row| row.is_none_or(|d| d.state == DynoState::Stopping))
}

/// Waits until the dyno is up or ends; then waits for its end.
pub async fn boot(engine: &Engine, dyno: &Dyno, sink: &DynoSink, slot: Option<StartSlot>) -> Exit {
    let parts = &engine.shared.parts;
    let wait = async { parts.runtime.wait(dyno.id).await.unwrap_or_else(|e| lost(&e.to_string())) };
    tokio::pin!(wait);
    if let Some(address) = dyno.socket_address() {
        let limit = parts.settings.boot_timeout;
        let mut seen = Seen::default();
        let proven = tokio::time::timeout(limit, prove(engine, dyno, address, &mut seen));
        tokio::select! {
            exit = &mut wait => return exit,
            proven = proven => if proven.is_err() && !is_stopping(engine, dyno) {
                sink.platform(&format!("Error R10 (Boot timeout) -> {}", seen.failure(limit.as_secs())));
                sink.platform("Stopping process with SIGKILL");
                let _ = parts.runtime.stop(dyno.id, 0).await; // ended meanwhile is as good
                return wait.await;
            }
        }
    }
    match engine.set_up(dyno).await {
        Ok(Some(_)) => {
            sink.platform("State changed from starting to up");
            if let Err(e) = engine.shared.routes.refresh(parts, dyno.app) {
                tracing::error!(error = %e, "engine.routes_failed");
            }
        }
        Ok(None) => {}
        Err(e) => tracing::error!(error = %e, dyno = %dyno.id, "engine.state_not_recorded"),
    }
    drop(slot);
    wait.await
}

/// What there is to say when the time is over.
#[derive(Default)]
struct Seen {
    check: Option<HealthCheck>,
    tally: Tally,
}

impl Seen {
    fn failure(&self, seconds: u64) -> String {
        let Some(check) = &self.check else {
            return format!("Web process failed to bind to $PORT within {seconds} seconds of launch");
        };
        let last = self.tally.last.as_deref().unwrap_or("no answer yet");
        format!(
            "Web process failed its health check GET {} within {seconds} seconds of launch: {} of {} successes in a row, last: {last}",
            check.path, self.tally.successes, check.successes
        )
    }
}

/// Returns when the port accepts and the health check, if the app has one, was passed.
async fn prove(engine: &Engine, dyno: &Dyno, address: SocketAddr, seen: &mut Seen) {
    accepts(address).await;
    let parts = &engine.shared.parts;
    let Ok(Some(app)) = parts.store.get(&tables::APPS, &dyno.app) else { return };
    let Some(check) = app.health_check else { return };
    seen.check = Some(check.clone());
    let host = format!("{}.{}", app.name, parts.settings.domain);
    let limit = Duration::from_secs(check.timeout_s);
    while !seen.tally.take(router::probe(address, &host, &check.path, limit).await, &check) {
        tokio::time::sleep(Duration::from_secs(check.interval_s)).await;
    }
}

/// Returns when something accepts there, seen from outside of the dyno.
async fn accepts(address: SocketAddr) {
    let mut pause = PROBE_FIRST;
    while TcpStream::connect(address).await.is_err() {
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PROBE_LONGEST);
    }
}
