//! A driver in memory for tests of other rooms: starts nothing, ends when it is told to, fails on request.

use crate::{Capabilities, Exec, Exit, Input, Inspection, Running, Runtime, RuntimeError, Sink, Spec, Stats};
use async_trait::async_trait;
use domain::DynoId;
use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::{mpsc, watch};

/// The fake driver.
#[derive(Default)]
pub struct FakeRuntime {
    cages: Mutex<HashMap<DynoId, Cage>>,
    fail_starts: Mutex<u32>,
}

struct Cage {
    spec: Spec,
    sink: Arc<dyn Sink>,
    exit: watch::Sender<Option<Exit>>,
    terms: u32,
    printed: u64,
}

impl FakeRuntime {
    /// The next `count` starts fail.
    pub fn fail_next_starts(&self, count: u32) {
        *self.fail_starts.lock().unwrap_or_else(PoisonError::into_inner) = count;
    }

    /// The cage writes output.
    pub fn print(&self, id: DynoId, bytes: &[u8]) {
        if let Some(cage) = self.cages().get_mut(&id) {
            cage.printed += bytes.len() as u64;
            cage.sink.output(cage.printed, 0, bytes);
        }
    }

    /// The cage ends by itself.
    pub fn finish(&self, id: DynoId, status: i32) {
        if let Some(cage) = self.cages().get(&id) {
            cage.exit.send_replace(Some(Exit { status, oom: false, platform_error: None }));
        }
    }

    /// What was started, and how often it got SIGTERM.
    pub fn started(&self) -> Vec<(Spec, u32)> {
        self.cages().values().map(|c| (c.spec.clone(), c.terms)).collect()
    }

    fn cages(&self) -> MutexGuard<'_, HashMap<DynoId, Cage>> {
        self.cages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Runtime for FakeRuntime {
    async fn start(&self, spec: Spec, sink: Arc<dyn Sink>) -> Result<IpAddr, RuntimeError> {
        {
            let mut failures = self.fail_starts.lock().unwrap_or_else(PoisonError::into_inner);
            if *failures > 0 {
                *failures -= 1;
                return Err(RuntimeError::Start("injected".into()));
            }
        }
        let cage = Cage { spec: spec.clone(), sink, exit: watch::channel(None).0, terms: 0, printed: 0 };
        self.cages().insert(spec.id, cage);
        Ok(Ipv4Addr::LOCALHOST.into())
    }

    async fn recover(&self, id: DynoId, sink: Arc<dyn Sink>) -> Result<Option<IpAddr>, RuntimeError> {
        let found = self.cages().get_mut(&id).map(|cage| cage.sink = sink);
        Ok(found.map(|()| Ipv4Addr::LOCALHOST.into()))
    }

    async fn signal(&self, id: DynoId, signal: i32) -> Result<(), RuntimeError> {
        if signal == 9 {
            self.finish(id, 137);
        }
        Ok(())
    }

    async fn stop(&self, id: DynoId, _grace_ms: u64) -> Result<(), RuntimeError> {
        let mut cages = self.cages();
        let cage = cages.get_mut(&id).ok_or(RuntimeError::Unknown(id))?;
        if cage.exit.borrow().is_none() {
            cage.terms += 1;
            cage.exit.send_replace(Some(Exit { status: 143, oom: false, platform_error: None }));
        }
        Ok(())
    }

    async fn wait(&self, id: DynoId) -> Result<Exit, RuntimeError> {
        let mut exit = self.cages().get(&id).map(|c| c.exit.subscribe()).ok_or(RuntimeError::Unknown(id))?;
        let ended = exit.wait_for(Option::is_some).await.map_err(|_| RuntimeError::Unknown(id))?;
        ended.clone().ok_or(RuntimeError::Unknown(id))
    }

    async fn attach(&self, id: DynoId) -> Result<mpsc::Sender<Input>, RuntimeError> {
        self.cages().get(&id).map(|_| mpsc::channel(1).0).ok_or(RuntimeError::Unknown(id))
    }

    async fn exec(&self, _id: DynoId, _exec: Exec) -> Result<Running, RuntimeError> {
        Err(RuntimeError::Unsupported("the fake driver starts nothing".into()))
    }

    async fn inspect(&self, id: DynoId) -> Result<Inspection, RuntimeError> {
        let exit = self.cages().get(&id).map(|cage| cage.exit.borrow().clone()).ok_or(RuntimeError::Unknown(id))?;
        Ok(Inspection { address: Ipv4Addr::LOCALHOST.into(), exit, pid: None })
    }

    async fn stats(&self, _id: DynoId) -> Option<Stats> {
        None
    }

    async fn list(&self) -> Result<Vec<DynoId>, RuntimeError> {
        Ok(self.cages().keys().copied().collect())
    }

    async fn remove(&self, id: DynoId) -> Result<(), RuntimeError> {
        self.cages().remove(&id);
        Ok(())
    }

    fn host_user(&self, _user_slot: u32) -> Option<(u32, u32)> {
        None
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { driver: "fake", ..Capabilities::default() }
    }
}
