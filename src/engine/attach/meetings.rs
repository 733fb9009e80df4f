//! Who may come, and who waits for them.

use super::Client;
use domain::{Attach, DynoId, Meeting, Rendezvous, limits::RENDEZVOUS_MS};
use std::{
    collections::{BTreeMap, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::sync::oneshot;

/// Appointments at the same time; with more the oldest gives way.
const MEETINGS_MAX: usize = 1000;

/// Kept in memory: after a restart of the daemon nobody waits any more.
#[derive(Default)]
pub struct Meetings(Mutex<State>);

#[derive(Default)]
struct State {
    by_secret: HashMap<String, Waiting>,
    clients: HashMap<DynoId, oneshot::Receiver<Client>>,
}

struct Waiting {
    meeting: Meeting,
    client: Option<oneshot::Sender<Client>>,
    until: Instant,
}

impl State {
    fn remove(&mut self, secret: &str) {
        if let Some(Waiting { meeting: Meeting::Dyno(dyno), .. }) = self.by_secret.remove(secret) {
            self.clients.remove(&dyno);
        }
    }
}

/// What somebody who knew a secret gets.
pub enum Arrival {
    /// A one-off dyno waits for this.
    Dyno(oneshot::Sender<Client>),
    /// See [`Meeting::Inside`].
    Inside { dyno: DynoId, command: String, env: BTreeMap<String, String>, attach: Attach },
}

impl Meetings {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the appointment: a secret works once.
    pub fn arrive(&self, secret: &str) -> Option<Arrival> {
        let waiting = self.state().by_secret.remove(secret).filter(|w| w.until > Instant::now())?;
        match waiting.meeting {
            Meeting::Dyno(_) => waiting.client.map(Arrival::Dyno),
            Meeting::Inside { dyno, command, env, attach } => Some(Arrival::Inside { dyno, command, env, attach }),
        }
    }

    /// The dyno shall not be started any more: a client that is on its way is sent away.
    pub fn cancel(&self, dyno: DynoId) {
        let mut state = self.state();
        state.by_secret.retain(|_, waiting| waiting.meeting != Meeting::Dyno(dyno));
        state.clients.remove(&dyno);
    }

    /// Waits for the client of a dyno; `None` when none comes in time or none is expected.
    pub async fn client(&self, dyno: DynoId) -> Option<Client> {
        let waiting = self.state().clients.remove(&dyno)?;
        tokio::time::timeout(Duration::from_millis(RENDEZVOUS_MS), waiting).await.ok()?.ok()
    }
}

impl Rendezvous for Meetings {
    fn arrange(&self, secret: String, meeting: Meeting) {
        let now = Instant::now();
        let mut state = self.state();
        let late = |w: &Waiting| w.until <= now;
        let mut over: Vec<String> = state.by_secret.iter().filter(|(_, w)| late(w)).map(|(s, _)| s.clone()).collect();
        if state.by_secret.len() - over.len() >= MEETINGS_MAX {
            let oldest = state.by_secret.iter().filter(|(_, w)| !late(w)).min_by_key(|(_, w)| w.until);
            over.extend(oldest.map(|(secret, _)| secret.clone()));
        }
        over.iter().for_each(|secret| state.remove(secret));
        let client = match &meeting {
            Meeting::Dyno(dyno) => {
                let (sender, receiver) = oneshot::channel();
                state.clients.insert(*dyno, receiver);
                Some(sender)
            }
            Meeting::Inside { .. } => None,
        };
        // A little more than the dyno waits, so that who comes in the last moment hears R13 and not nothing.
        let until = now + Duration::from_millis(RENDEZVOUS_MS) * 2;
        state.by_secret.insert(secret, Waiting { meeting, client, until });
    }

    fn forget(&self, secret: &str) {
        self.state().remove(secret);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn a_secret_works_once_and_not_after_it_was_forgotten() {
        let meetings = Meetings::default();
        let dyno = DynoId(Uuid::from_u128(1));
        meetings.arrange("a".into(), Meeting::Dyno(dyno));
        assert!(meetings.arrive("b").is_none());
        assert!(matches!(meetings.arrive("a"), Some(Arrival::Dyno(_))));
        assert!(meetings.arrive("a").is_none());
        let inside = Meeting::Inside { dyno, command: "x".into(), env: BTreeMap::new(), attach: Attach::Pipes };
        meetings.arrange("c".into(), inside);
        meetings.forget("c");
        assert!(meetings.arrive("c").is_none());
    }

    #[test]
    fn appointments_are_bounded() {
        let meetings = Meetings::default();
        (0..MEETINGS_MAX + 5).for_each(|n| meetings.arrange(format!("{n}"), Meeting::Dyno(DynoId(Uuid::from_u128(n as u128)))));
        assert_eq!(meetings.state().by_secret.len(), MEETINGS_MAX);
    }
}
